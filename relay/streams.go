package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/netio"
	"causeway/relay/stream"
	"causeway/relay/turn"
)

// streams are the relay's clients that come over TCP, TLS and DTLS.
type streams struct {
	relay       *Relay
	listeners   []*stream.Listener
	names       []listening // by index of listeners
	gate        *stream.Gate
	certificate *stream.Certificate // nil: none is configured
	connections *stream.Connections // of RFC 6062
	dealt       atomic.Uint32
}

// streamClient is one connection. session belongs to the worker; the rest does not change, but for the worker itself,
// which does when the client moves to an allocation of another (RFC 8016).
type streamClient struct {
	conn    *stream.Conn
	source  turn.Source
	worker  atomic.Pointer[worker]
	session *session
	drain   func(now time.Time) // made once, so that frames need no memory
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
		}, streamHandler{s, uint8(i)})
		if err != nil {
			s.close()
			return nil, fmt.Errorf("relay: %w", err)
		}
		s.listeners = append(s.listeners, listener)
		s.names = append(s.names, l)
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
	sc.worker.Store(w)
	sc.drain = sc.drainNow
	c.Tag = sc
	w.net.Do(func(time.Time) { w.streams[sc.source] = sc })
}

// Frames has the worker take what has come.
func (h streamHandler) Frames(c *stream.Conn) {
	sc := c.Tag.(*streamClient)
	sc.worker.Load().net.Do(sc.drain)
}

// Closed ends what the connection had.
func (h streamHandler) Closed(c *stream.Conn) {
	sc := c.Tag.(*streamClient)
	sc.worker.Load().net.Do(sc.closed)
}

func (sc *streamClient) closed(now time.Time) {
	w := sc.worker.Load()
	defer w.guard("the end of a connection")
	if w.streams[sc.source] == sc {
		delete(w.streams, sc.source)
	}
	if s := sc.session; s != nil && s.conn == sc.conn {
		s.conn = nil
	}
	w.do(now, w.machine.Disconnected(sc.source))
}

// drainNow handles the frames that wait, on the worker's goroutine.
func (sc *streamClient) drainNow(now time.Time) {
	w := sc.worker.Load()
	defer func() {
		if p := recover(); p != nil {
			w.panicked(p, "client", sc.source.Client)
			sc.conn.Close(stream.Panicked)
		}
	}()
	nano := now.UnixNano()
	sc.conn.Drain(func(p *netio.Packet) { w.frame(now, nano, sc, p) })
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

// handOver gives a stream client to another worker, which has the allocation that it wants to move to.
func (w *worker) handOver(source turn.Source, other *worker) {
	sc := w.streams[source]
	if sc == nil {
		return
	}
	delete(w.streams, source)
	sc.worker.Store(other)
	other.net.Do(func(time.Time) { other.streams[source] = sc })
}
