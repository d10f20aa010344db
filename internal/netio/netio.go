// Package netio is the only place that talks to sockets for media: it opens UDP
// ports, reads and writes datagrams in batches, marks what it sends, and takes
// from the kernel what the kernel knows better: when a datagram arrived, and how
// many it had to drop.
//
// An [Engine] makes workers. A [Worker] is one goroutine's worth of network: it
// owns a set of ports, their buffers and one queue of commands, and everything
// that belongs to its ports happens on its goroutine, in [Worker.Run]. Code that
// runs there (receivers, timers, commands) needs no locks among itself and must
// not block, since nothing else of the worker moves meanwhile.
//
// [Sockets] is the engine over the kernel's UDP sockets, one for each port.
// [Memory] is its twin for tests: the same contract on a network that is a map,
// driven by whatever clock the time package has, so that testing/synctest can
// run it.
//
// Linux only.
package netio

import (
	"context"
	"net/netip"
	"time"

	"causeway/internal/pkt"
)

// Batch is the largest number of packets that one call of [Receiver.Receive]
// gets.
const Batch = 32

// Packet is one datagram.
//
// In a batch given to a [Receiver], Buf is the worker's: the receiver may read
// and rewrite it in place until it returns. [Port.Send] takes the buffer over and
// sets Buf to nil, which is how the worker knows that it has to put a fresh one
// into the slot. A receiver that wants to keep bytes for longer copies them. A
// datagram has [pkt.Headroom] bytes free in front of it and at least
// [pkt.Tailroom] behind it.
type Packet struct {
	Buf  *pkt.Buf
	From netip.AddrPort // where it came from; never IPv4-mapped
	At   int64          // when it arrived at the host, in nanoseconds since the Unix epoch

	// TOS and TTL are fields of the IP header, for ports with [Options.Fields]; others
	// receive zeros and send with what the port was opened with. TOS is the whole
	// octet (IPv4's TOS, IPv6's traffic class): the DSCP in the upper six bits and ECN
	// in the lower two (RFC 3168 section 5). TTL is IPv4's time to live or IPv6's hop
	// limit. Zero on sending is the port's default. A packet that is received and sent
	// on keeps what it has, unless the receiver changes it.
	TOS, TTL uint8
	// DontFragment, on sending by a port with [Options.Fields], has the packet go
	// whole or not at all: with the DF bit in IPv4, without a fragment header in
	// IPv6. What is too long is not sent; it counts as unsent, and the
	// [ErrorReceiver] is told the MTU. It is never set on receiving.
	DontFragment bool
	// Cut says that the datagram was longer than [pkt.MaxDatagram] and that its
	// end is missing. With [Options.Large] nothing is cut.
	Cut bool
}

// Receiver gets the datagrams of the ports that it is attached to.
type Receiver interface {
	// Receive handles one batch, of 1 to [Batch] packets in the order of their
	// arrival, all of one port. It runs on the worker's goroutine. now was read
	// once for everything that was ready at the time, so it is not before any
	// packet's arrival by more than the time that handling them takes. The slice
	// and its packets are the worker's again when Receive returns.
	Receive(now time.Time, batch []Packet)
}

// ICMP is an error that came back for something that a port had sent. Nobody has
// authenticated it.
type ICMP struct {
	Peer netip.AddrPort // where the packet was to go; never IPv4-mapped
	// Type and Code are those of the message: ICMP's for an IPv4 peer, ICMPv6's for an
	// IPv6 peer. Both are zero if Local is set.
	Type, Code uint8
	// MTU is set where the packet was too long: what would have fitted, in bytes with
	// the IP header.
	MTU uint32
	// Local says that the host itself refused a DontFragment packet that is too long
	// for the path.
	Local bool
}

// ErrorReceiver is implemented by a [Receiver] that wants to be told of errors, on
// ports with [Options.Errors].
type ErrorReceiver interface {
	// Unreachable handles one error, on the worker's goroutine. It may send.
	Unreachable(now time.Time, e ICMP)
}

// Timers is the owner of whatever has to happen at a time.
type Timers interface {
	// Next returns when Expire has to be called next; ok is false if it hasn't.
	// The worker asks before each time it goes to sleep.
	Next() (at time.Time, ok bool)
	// Expire does what is due.
	Expire(now time.Time)
}

// Options say how a port is opened.
type Options struct {
	// DSCP is the six-bit code point of everything sent, in the IPv4 TOS field or
	// the IPv6 traffic class. 0 leaves packets unmarked.
	DSCP uint8
	// ReusePort lets several ports have one address, of which every one has to be
	// opened so (SO_REUSEPORT). What comes from one remote address then always comes
	// to one and the same of them, as long as none is opened or closed.
	ReusePort bool
	// ReceiveBuffer is the size of the receive queue in bytes of payload and of the
	// kernel's overhead, as SO_RCVBUF has it; 0 is the system's default. Beyond the
	// system's limit it needs CAP_NET_ADMIN; without that, the limit is what the
	// port gets.
	ReceiveBuffer int
	// Fields has the TOS, TTL and DontFragment of packets received and sent. IPv4
	// packets then go out without the DF bit unless they ask for it.
	Fields bool
	// Errors has errors told to the port's receiver if that is an [ErrorReceiver].
	Errors bool
	// Large has datagrams of any length received whole: one that is longer than
	// [pkt.MaxDatagram] comes in a long buffer that is made for it.
	Large bool
	// Connect, if valid, is the only address to receive from. In a group of ports
	// with one address, the connected port gets what comes from there. What comes
	// from others between the port's binding and its connecting may still be
	// delivered, under its own From. Connect implies ReusePort.
	Connect netip.AddrPort
}

// Engine makes workers.
type Engine interface {
	// NewWorker returns a worker that is not running. It holds nothing that would
	// have to be closed until it runs or listens.
	NewWorker() Worker
}

// Worker owns ports and moves their datagrams.
type Worker interface {
	// Run moves datagrams, runs commands and fires timers until ctx is done. It
	// blocks; the caller's goroutine becomes the worker's. Commands that are
	// queued when it ends are still run, and ports stay open: closing them is up
	// to their owners, by Do.
	Run(ctx context.Context, timers Timers) error

	// Do has f run on the worker's goroutine, after everything queued before, and
	// returns without waiting for it. While the worker isn't running, Do runs f
	// itself before it returns, with other callers locked out. Do may be called
	// from any goroutine but not from within f or another callback.
	Do(f func(now time.Time))

	// Listen opens a port on a local address without attaching it. It may be called
	// from any goroutine. Errors wrap the system's, such as syscall.EADDRINUSE and
	// syscall.EMFILE. Port number 0 has the system choose one.
	Listen(local netip.AddrPort, o Options) (Port, error)

	// Adopt takes over a port that another worker of the same engine listened on, so
	// that it is attached and sent from here. The port must never have been attached
	// or sent from; it is an error if it was attached or closed, or is of another
	// engine. It may be called from any goroutine that has the port to itself.
	Adopt(p Port) error

	// Buffer returns an empty buffer for a packet of the caller's own making, to be
	// handed to [Port.Send]. Only on the worker's goroutine.
	Buffer() *pkt.Buf
}

// Port is one local UDP address of one worker. Its methods belong on that
// worker's goroutine, except that Local may be called anywhere and that a port
// which was never attached may be closed anywhere.
type Port interface {
	// Local returns the address that the port is bound to.
	Local() netip.AddrPort

	// Attach has datagrams delivered to r from now on, those included that came
	// after Listen. A port is attached at most once.
	Attach(r Receiver) error

	// Send queues p's buffer for sending and takes it over, whatever happens: p.Buf
	// is nil afterwards. Queued packets go out in order, at the latest when the
	// worker has finished with what is ready now. What can't be sent is counted
	// and dropped; media is never sent late.
	Send(p *Packet, to netip.AddrPort)

	// Counters returns what happened to the port's datagrams below us. It asks the
	// kernel, so it is for reports and not for packets.
	Counters() PortCounters

	// Close sends what the port has queued and closes it; nothing is received
	// afterwards, and Send drops. Closing again does nothing.
	Close()
}

// PortCounters counts from a port's opening.
type PortCounters struct {
	// Overflowed is how many datagrams the kernel dropped because the port's
	// receive queue was full (or, rarely, their checksum wrong).
	Overflowed uint64
	// Unreachable is how many ICMP errors came back for what was sent. They are
	// unauthenticated, so they only count.
	Unreachable uint64
	// Unsent is how many packets the kernel refused to send.
	Unsent uint64
}
