// Package auth decides who may use the relay, how much of it, and whom it may be used to reach: credentials and
// nonces, quotas and budgets, the peer policy.
//
// It is pure: time comes as an argument, addresses as [net/netip], and nothing here reads a file, a socket or a clock.
// [Credentials], [Signer], [Nonces] and [Policy] do not change once made and may be used by any number of goroutines;
// [Budget], [Quota] and [Account] are safe for concurrent use; a [Lease] belongs to one goroutine.
//
// Strings are compared byte by byte. RFC 8489 wants user names, realms and passwords prepared with the OpaqueString
// profile (RFC 8265 section 4.2). What is configured here must be in prepared form already: text with control
// characters or with spaces other than U+0020 is refused when the relay starts, since preparing would refuse or change
// it; normalization to NFC is left to whoever writes it. What clients send is never changed.
package auth
