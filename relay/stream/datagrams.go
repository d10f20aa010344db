package stream

import (
	"container/list"
	"context"
	"net/netip"
	"sync"
	"time"

	"causeway/internal/netio"
	"causeway/internal/pkt"
	"causeway/relay/turn"
)

const (
	// maxRecordDatagram is the longest datagram that pion reads.
	maxRecordDatagram = 8192
	// outgoingDatagrams is how many datagrams of all DTLS clients may wait for the worker. It writes them as fast as the
	// kernel takes them, so there are as many only when it gets no processor time.
	outgoingDatagrams = 1024
)

// datagrams is a DTLS listener's socket and the clients that share it. It has a network worker of its own.
type datagrams struct {
	listener *Listener
	worker   netio.Worker
	port     netio.Port

	mu       sync.Mutex
	clients  map[netip.AddrPort]*association // guarded by mu
	shaking  int                             // guarded by mu; handshakes under way
	unproven list.List                       // guarded by mu; those of them without the cookie, the oldest first
	outside  int                             // guarded by mu; clients that the gate has not let in, ending ones included
	out      []outgoing                      // guarded by mu
	posted   bool                            // guarded by mu; the worker will take out

	// The worker's own.
	spare  []outgoing
	packet netio.Packet
}

// outgoing is a datagram that waits for the worker.
type outgoing struct {
	to  netip.AddrPort
	buf *pkt.Buf
}

func (l *Listener) listenDTLS(local netip.AddrPort) error {
	d := &datagrams{listener: l, worker: netio.Sockets().NewWorker(), clients: make(map[netip.AddrPort]*association)}
	port, err := d.worker.Listen(local, netio.Options{Large: true})
	if err != nil {
		return err
	}
	d.port = port
	d.worker.Do(func(time.Time) { err = port.Attach(d) }) // at once: the worker isn't running
	if err != nil {
		port.Close()
		return err
	}
	l.datagrams = d
	l.local = port.Local()
	return nil
}

// run serves the socket until ctx is done.
func (d *datagrams) run(ctx context.Context) error {
	err := d.worker.Run(ctx, noTimers{})
	d.close()
	return err
}

// close closes the socket. What is sent from then on is dropped.
func (d *datagrams) close() { d.worker.Do(func(time.Time) { d.port.Close() }) }

// noTimers says that a worker has nothing to do by itself.
type noTimers struct{}

func (noTimers) Next() (time.Time, bool) { return time.Time{}, false }
func (noTimers) Expire(time.Time)        {}

func (d *datagrams) counters() netio.PortCounters {
	got := make(chan netio.PortCounters, 1)
	d.worker.Do(func(time.Time) { got <- d.port.Counters() })
	return <-got
}

func (d *datagrams) handshakes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shaking
}

// Receive implements netio.Receiver: it gives each datagram to its client, and makes one for a ClientHello from an
// unknown address.
func (d *datagrams) Receive(_ time.Time, batch []netio.Packet) {
	for i := range batch {
		p := &batch[i]
		if p.Cut || p.Buf.Len() > maxRecordDatagram {
			d.listener.tally.dropped[DatagramTooLong].Add(1)
			continue
		}
		if drop, ok := d.receive(p); !ok {
			d.listener.tally.dropped[drop].Add(1)
		}
	}
}

func (d *datagrams) receive(p *netio.Packet) (Drop, bool) {
	b := p.Buf.Bytes()
	d.mu.Lock()
	a := d.clients[p.From]
	proven := a != nil && a.unproven == nil
	d.mu.Unlock()
	hello := beginsHandshake(b)
	if a == nil && !hello {
		return NotDTLS, false
	}
	if afford := d.listener.afford; afford != nil && hello && !proven && !afford(p.From.Addr()) {
		return ReplyBudget, false
	}
	if a == nil {
		if a = d.admit(p.From); a == nil {
			return 0, true // counted as what it was refused for
		}
	}
	return a.receive(b)
}

// admit lets a new client begin a handshake, or counts why it may not. The gate is for those who have come back with
// their cookie: what was sent in somebody's name takes no place from that network's clients.
func (d *datagrams) admit(client netip.AddrPort) *association {
	l := d.listener
	if !d.makeRoom() {
		l.tally.ended[TooManyHandshakes].Add(1)
		return nil
	}
	a := newAssociation(d, client)
	c := newConn(l, a, client, turn.DTLS)
	a.conn = c
	d.mu.Lock()
	d.clients[client] = a
	d.shaking++
	d.outside++
	a.unproven = d.unproven.PushBack(a)
	d.mu.Unlock()
	l.start(c, func() Reason { return a.serve(c) })
	return a
}

// makeRoom reports whether another handshake may begin, and if there are too many ends the oldest whose client has not
// shown that it gets what is sent to it. Ending takes a moment: in a flood, newcomers wait for it too.
func (d *datagrams) makeRoom() bool {
	limit := d.listener.limits.Handshakes
	d.mu.Lock()
	if d.shaking < limit && d.outside < 2*limit {
		d.mu.Unlock()
		return true
	}
	oldest := d.unproven.Front()
	if oldest == nil || d.outside >= 2*limit {
		d.mu.Unlock()
		return false
	}
	a := oldest.Value.(*association)
	d.settle(a)
	d.mu.Unlock()
	a.conn.stop(Displaced)
	return true
}

// prove notes that a client has returned its cookie, and reports whether the gate lets it in.
func (d *datagrams) prove(a *association) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a.forgotten {
		return false
	}
	if a.unproven != nil {
		d.unproven.Remove(a.unproven)
		a.unproven = nil
	}
	r := d.listener.gate.enter(a.client.Addr())
	if r != none {
		a.conn.stop(r)
		return false
	}
	a.entered = true
	d.outside--
	return true
}

// settled notes that a handshake is over.
func (d *datagrams) settled(a *association) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settle(a)
}

// settle takes a handshake out of the count, once. d.mu is held.
func (d *datagrams) settle(a *association) {
	if a.shaking {
		a.shaking = false
		d.shaking--
	}
	if a.unproven != nil {
		d.unproven.Remove(a.unproven)
		a.unproven = nil
	}
}

// forget ends a client's share of the socket.
func (d *datagrams) forget(a *association) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settle(a)
	if d.clients[a.client] == a {
		delete(d.clients, a.client)
	}
	a.forgotten = true
	if a.entered {
		d.listener.gate.leave(a.client.Addr())
	} else {
		d.outside--
	}
}

// send has the worker write a datagram.
func (d *datagrams) send(to netip.AddrPort, b []byte) {
	d.mu.Lock()
	if len(d.out) >= outgoingDatagrams {
		d.mu.Unlock()
		d.listener.tally.dropped[OutboundFull].Add(1)
		return
	}
	d.out = append(d.out, outgoing{to: to, buf: hold(b)})
	post := !d.posted
	d.posted = true
	d.mu.Unlock()
	if post {
		d.worker.Do(d.flush)
	}
}

// flush writes what waits. It runs on the worker.
func (d *datagrams) flush(time.Time) {
	d.mu.Lock()
	d.out, d.spare = d.spare[:0], d.out
	d.posted = false
	d.mu.Unlock()
	for i, o := range d.spare {
		d.spare[i] = outgoing{}
		d.packet = netio.Packet{Buf: o.buf}
		if !o.buf.IsLong() {
			// The worker keeps what it sends, so it gets one of its own.
			d.packet.Buf = d.worker.Buffer()
			d.packet.Buf.Fill(o.buf.Bytes())
			buffers.Put(o.buf)
		}
		d.port.Send(&d.packet, o.to)
	}
}
