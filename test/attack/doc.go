// Package attack is hostile to the relay: each test does to a causeway that runs what somebody on the network could do,
// from raw sockets, and looks at three things. The attack gets the answer that the RFCs have for it, or none and a counter
// with a name; nothing is counted under any other name. A client that is well behaved is served meanwhile and afterwards,
// and loses nothing that the kernel has not dropped. And what the attack took comes back: allocations, goroutines,
// descriptors and memory.
//
// The messages are made with relay/turn's codec and then broken. What the codec itself could hide is what its own tests
// are for (RFC 5769's vectors, pion as a second opinion), and what test/turn's clients show, which share no code with it.
//
// Time is left to the tests of relay/turn, where it can be simulated: the nonce that is too old, to the second, is
// TestError438StaleNonce, and connections that idle are relay/stream's TestIdleTimeDependsOnTheAllocation.
//
// The federation table is shown here too, because its empty cells are attacks that have to fail.
package attack
