package relay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/netio"
	"causeway/internal/pkt"
	"causeway/relay/stream"
	"causeway/relay/turn"
)

// streams are the relay's clients that come over TCP, TLS and DTLS.
type streams struct {
	relay       *Relay
	listeners   []*stream.Listener
	names       []listening // by index of listeners
	numbers     []int       // their places in Relay.listening
	gate        *stream.Gate
	certificate *stream.Certificate // nil: none is configured
	connections *stream.Connections // of RFC 6062
	dealt       atomic.Uint32
}

// streamClient is one connection. It belongs to the worker that it is bound to, which is another when the client has
// moved to an allocation of that one's (RFC 8016).
type streamClient struct {
	conn   *stream.Conn
	source turn.Source
	bound  atomic.Pointer[binding]

	// The worker's.
	session *session
	leaving *worker  // whom it is handed over to after the frames in hand
	left    [][]byte // frames that are the next worker's, the one that moves the client first
}

// binding is a connection's tie to one worker, on whose goroutine its commands run. They are made once, so that frames
// need no memory. Once the connection was handed over, next is the binding that took its place, and a command that was
// already on its way goes on to that, behind the command that installs it.
type binding struct {
	worker        *worker
	drain, closed func(now time.Time)
	next          *binding // the worker's
}

func (sc *streamClient) newBinding(w *worker) *binding {
	b := &binding{worker: w}
	b.drain = func(now time.Time) { sc.drain(b, now) }
	b.closed = func(now time.Time) { sc.closed(b, now) }
	return b
}

// newStreams opens the stream listeners.
func newStreams(r *Relay) (*streams, error) {
	limits := r.cfg.Limits
	s := &streams{
		relay: r, gate: stream.NewGate(limits.TCPClients, limits.TCPClientsPerPrefix),
		connections: stream.NewConnections(stream.DataLimits{Pending: limits.PendingConnections}, r.log),
	}
	if t := r.cfg.TLS; t.Certificate != "" {
		var err error
		if s.certificate, err = stream.LoadCertificate(t.Certificate, t.Key, r.log); err != nil {
			return nil, fmt.Errorf("relay.tls: %w", err)
		}
	}
	for i, l := range r.listening {
		for _, w := range r.workers {
			if w.listeners[i] == nil {
				w.listeners[i] = &listener{worker: w, number: uint8(i)}
			}
		}
		if l.Network == "udp" {
			continue
		}
		listener, err := stream.Listen(stream.Options{
			Network: stream.Network(l.Network), Local: l.Addr, Certificate: s.certificate, Gate: s.gate, Log: r.log,
			Afford: func(client netip.Addr) bool { return r.budget.Take(r.now(), client) },
		}, streamHandler{s, uint8(i)})
		if err != nil {
			s.close()
			return nil, fmt.Errorf("relay: %w", err)
		}
		s.listeners = append(s.listeners, listener)
		s.names = append(s.names, l)
		s.numbers = append(s.numbers, i)
	}
	return s, nil
}

// run serves until ctx is done and every connection has ended.
func (s *streams) run(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, len(s.listeners)+1)
	for i, l := range s.listeners {
		wg.Go(func() { errs[i] = l.Run(ctx) })
	}
	errs[len(s.listeners)] = s.connections.Run(ctx)
	wg.Wait()
	return errors.Join(errs...)
}

// close closes what doesn't run.
func (s *streams) close() {
	for _, l := range s.listeners {
		l.Close()
	}
}

// streamHandler is what a listener tells of its connections.
type streamHandler struct {
	streams *streams
	number  uint8
}

// Accepted deals a connection to a worker.
func (h streamHandler) Accepted(c *stream.Conn) {
	r := h.streams.relay
	w := r.workers[int(h.streams.dealt.Add(1))%len(r.workers)]
	sc := &streamClient{
		conn:   c,
		source: turn.Source{Client: c.Client(), Listener: h.number, Transport: c.Transport()},
	}
	sc.bound.Store(sc.newBinding(w))
	c.Tag = sc
	w.call(func(now time.Time) {
		if w.streams[sc.source] != nil {
			// The same address and port again: the connection before this one has ended, which is yet to be told.
			w.do(now, w.machine.Disconnected(sc.source))
		}
		w.streams[sc.source] = sc
	})
}

// Frames has the worker take what has come.
func (h streamHandler) Frames(c *stream.Conn) {
	b := c.Tag.(*streamClient).bound.Load()
	b.worker.net.Do(b.drain)
}

// Closed ends what the connection had.
func (h streamHandler) Closed(c *stream.Conn) {
	b := c.Tag.(*streamClient).bound.Load()
	b.worker.net.Do(b.closed)
}

func (sc *streamClient) closed(b *binding, now time.Time) {
	if b.next != nil {
		b.next.worker.net.Do(b.next.closed)
		return
	}
	w := b.worker
	defer w.guard("the end of a connection")
	if s := sc.session; s != nil && s.conn == sc.conn {
		s.conn = nil
	}
	if w.streams[sc.source] == sc {
		delete(w.streams, sc.source)
		w.do(now, w.machine.Disconnected(sc.source))
	}
}

// drain handles the frames that wait, on the goroutine of the binding's worker.
func (sc *streamClient) drain(b *binding, now time.Time) {
	if b.next != nil {
		b.next.worker.net.Do(b.next.drain)
		return
	}
	w := b.worker
	defer func() {
		if p := recover(); p != nil {
			w.panicked(p, "client", sc.source.Client)
			sc.conn.Close(stream.Panicked)
		}
	}()
	nano := now.UnixNano()
	sc.conn.Drain(func(p *netio.Packet) {
		if sc.leaving != nil {
			sc.left = append(sc.left, slices.Clone(p.Buf.Bytes())) // as many as wait at once: a few
			return
		}
		w.frame(now, nano, sc, p)
	})
	if sc.leaving != nil {
		w.handOver(sc)
	}
}

// frame handles one frame of a stream client.
func (w *worker) frame(now time.Time, nano int64, sc *streamClient, p *netio.Packet) {
	b, fates := p.Buf.Bytes(), &w.listeners[sc.source.Listener].fates
	kind := turn.Classify(b)
	if kind == turn.KindOther {
		fates[NotTURN]++
		return
	}
	if kind == turn.KindSTUN && !turn.IsSend(b) {
		w.handle(now, sc.source, b)
		return
	}
	s := sc.session
	if s == nil {
		fates[NoAllocation]++
		return
	}
	if sc.source != s.source {
		w.heard(s, sc.source)
	}
	if kind == turn.KindChannelData {
		s.channelData(nano, p, sc.source.Transport.Stream(), fates)
	} else {
		s.sendIndication(nano, p, fates)
	}
}

// send sends a message of our own making.
func (sc *streamClient) send(b []byte) { sc.conn.Send(b, stream.Control) }

// handOver gives a stream client to the worker that has the allocation it wants to move to, with the frames that this
// one has taken from it. Nothing of it is touched here afterwards.
func (w *worker) handOver(sc *streamClient) {
	other, left := sc.leaving, sc.left
	sc.leaving, sc.left = nil, nil
	delete(w.streams, sc.source)
	next := sc.newBinding(other)
	sc.bound.Load().next = next
	other.call(func(now time.Time) {
		sc.bound.Store(next)
		other.streams[sc.source] = sc
		for _, b := range left {
			if sc.leaving != nil { // it goes on to yet another
				sc.left = append(sc.left, b)
				continue
			}
			p := netio.Packet{Buf: pkt.Long(len(b)), From: sc.source.Client, At: now.UnixNano()}
			copy(p.Buf.Bytes(), b)
			other.frame(now, now.UnixNano(), sc, &p)
		}
		if sc.leaving != nil {
			other.handOver(sc)
		}
	})
}
