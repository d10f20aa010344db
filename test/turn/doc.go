// Package turn drives the relay with real TURN clients that share no code with it: coturn's turnutils_uclient, pion's
// clients of two majors, headless Chromium, libjuice, aioice, and clients behind NATs that nftables makes in network
// namespaces.
//
// The relay is a process of its own with a configuration that the test writes, on free ports of loopback or in a
// namespace, and is driven only from outside. A test whose client is not installed is skipped with the reason, which CI
// counts as a failure.
//
// Control run: with TURN_UNDER_TEST=coturn the same clients drive Debian's coturn instead. A test that fails against
// both says something of the client, one that fails here alone something of the relay. What only causeway has (its
// metrics, its list of allocations, the SHA-256 set) is left out of the control run.
package turn
