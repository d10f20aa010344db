// Package archtest holds the house rules that a compiler does not: which room
// may import which, which rooms do no I/O, and who may touch sockets. It has
// tests only. The rules are docs/overview.md's table in the form of code; a
// change to either is a change of the architecture and belongs in a review.
package archtest
