// Package turnload puts the relay under load and compares it with Debian's coturn, by bench/turnload.
//
// What does not depend on the machine's speed is a test: that nothing is lost or confused, and what an allocation costs
// in memory. What does is a benchmark, to be run by hand on a machine with two processors that does nothing else:
//
//	setsid -w go test -run '^$' -bench . -benchtime 1x -timeout 30m ./test/turnload
//
// The servers run on processor 0 alone and the generator on processor 1, one server after the other in turn, so that
// what the machine does besides falls on both alike; figures are medians over the rounds. All in one session of its own
// (setsid) can be given precedence over other sessions, which the benchmarks do where they may.
package turnload
