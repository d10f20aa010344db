// Package transaction is the transaction layer of RFC 3261 section 17, as
// corrected by RFC 6026, without I/O, clock or goroutine: a machine is told
// what arrived and what time it is, and says what is to be sent.
//
// A transaction is one request with all its responses, on one hop. It repeats
// what an unreliable transport may lose, absorbs what the peer repeats, and
// gives up when nothing comes back. What it does not do: it finds no way to the
// peer, writes nothing, makes no dialog, and never repeats a 2xx to INVITE,
// which is the business of the two ends (13.3.1.4).
//
// The caller keeps the machines in maps by ClientKey and ServerKey, calls Tick
// when Next is due, and forgets a machine that is Terminated. A machine is for
// one goroutine at a time. It keeps the messages it is given and the ones it
// gives out; they must not be changed afterwards.
package transaction
