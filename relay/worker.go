package relay

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"causeway/internal/netio"
	"causeway/relay/turn"
)

// worker owns some of the clients: those whose packets the kernel gives to its sockets, and the streams it was dealt.
// Everything in it belongs to its goroutine, that of net's Run.
type worker struct {
	relay     *Relay
	number    int
	net       netio.Worker
	machine   *turn.Machine
	listeners []*listener // by listener number; nil where it is a stream's
	sessions  map[turn.ID]*session
	streams   map[turn.Source]*streamClient

	peerFates Fates // of what peers sent
	// What the sessions that have ended had counted.
	closedSockets                netio.PortCounters
	closedToPeer, closedToClient traffic

	transaction turn.TransactionID
	indications uint64
	packet      netio.Packet // of our own making, on its way to a port
	message     []byte       // that is being handled, for Forward
	moved       bool         // that message came from another worker
	forwarded   atomic.Int32 // messages of other workers' clients that wait
	log         *slog.Logger
}

func (w *worker) run(ctx context.Context) error { return w.net.Run(ctx, w) }

// Next and Expire make the worker the owner of its machine's timers.
func (w *worker) Next() (time.Time, bool) { return w.machine.Next() }

// Expire does what is due.
func (w *worker) Expire(now time.Time) {
	defer w.guard("timers")
	w.do(now, w.machine.Expire(now))
}

// call has f run on the worker's goroutine. A panic in it is its own end.
func (w *worker) call(f func(now time.Time)) {
	w.net.Do(func(now time.Time) {
		defer w.guard("command")
		f(now)
	})
}

func (w *worker) guard(what string) {
	if p := recover(); p != nil {
		w.panicked(p, "in", what)
	}
}

// panicked reports a panic that was caught: a defect, of which one packet, connection or allocation was the victim.
func (w *worker) panicked(p any, key string, whose any) {
	w.relay.panics.Add(1)
	w.log.Error("panic", key, whose, "panic", p, "stack", string(debug.Stack()))
}

// handle gives a STUN message to the machine.
func (w *worker) handle(now time.Time, source turn.Source, b []byte) {
	w.message = b
	w.do(now, w.machine.Handle(now, source, b))
	w.message = nil
}

// heard settles a client that moved, at the first packet from its new address.
func (w *worker) heard(s *session, from turn.Source) {
	w.do(time.Time{}, w.machine.Heard(s.id, from))
}

// do carries out a machine's actions.
func (w *worker) do(now time.Time, actions []turn.Action) {
	for i := range actions {
		a := &actions[i]
		switch a.Kind {
		case turn.Reply:
			w.reply(a.To, a.Message)
		case turn.Open:
			w.open(now, *a)
			return // the machine's actions are others now; Open was the last
		case turn.Attach:
			w.attach(now, *a)
			return
		case turn.Forward:
			w.forward(a)
		case turn.Dial:
			w.dial(a)
		case turn.Release:
			if port, ok := w.relay.reserved.drop(a.Token); ok {
				w.relay.closePort(now, port)
			}
		default:
			w.alter(now, a)
		}
	}
}

// alter carries out an action on the session that it names.
func (w *worker) alter(now time.Time, a *turn.Action) {
	s := w.sessions[a.ID]
	if s == nil {
		return // a port could not be opened, and nothing else was made
	}
	switch a.Kind {
	case turn.Close:
		w.close(now, s)
	case turn.CloseFamily:
		s.closeEnd(now, a.Family)
	case turn.Permit:
		s.path.Permit(a.Peer.Addr())
	case turn.Revoke:
		s.path.Revoke(a.Peer.Addr())
	case turn.BindChannel:
		s.path.Bind(a.Channel, a.Peer)
	case turn.UnbindChannel:
		s.path.Unbind(a.Channel)
	case turn.Move:
		w.move(s, a.To)
	case turn.Settle:
		w.settle(s, a.To)
	default: // do's own
	}
}

// reply sends a message to a client, if it is still there.
func (w *worker) reply(to turn.Source, b []byte) {
	if !to.Client.IsValid() {
		return // a client that has gone, and may come back
	}
	if to.Transport == turn.UDP {
		w.listeners[to.Listener].send(b, to.Client)
		return
	}
	if c := w.streams[to]; c != nil {
		c.send(b)
	}
}

// forwards is how many messages of other workers' clients may wait for a worker. Who moves sends one, and again if it
// gets no answer.
const forwards = 256

// maxForward is how long such a message may be, in bytes. A Refresh with the longest user name and realm is shorter.
const maxForward = 1500

// forward gives the message in hand to the worker that owns the allocation it is about (RFC 8016).
func (w *worker) forward(a *turn.Action) {
	owner := a.ID.Worker()
	if owner >= len(w.relay.workers) || owner == w.number {
		return
	}
	other, source := w.relay.workers[owner], a.To
	if len(w.message) > maxForward {
		w.listeners[source.Listener].fates[WorkerQueue]++
		return
	}
	if source.Transport != turn.UDP {
		if sc := w.streams[source]; sc != nil && sc.leaving == nil {
			sc.leaving = other
			sc.left = append(sc.left, slices.Clone(w.message))
		}
		return
	}
	if other.forwarded.Add(1) > forwards {
		other.forwarded.Add(-1)
		w.listeners[source.Listener].fates[WorkerQueue]++
		return
	}
	message := slices.Clone(w.message)
	other.call(func(now time.Time) {
		other.forwarded.Add(-1)
		other.moved = true
		defer func() { other.moved = false }()
		other.handle(now, source, message)
	})
}

// move lets the client of a session also come from another address.
func (w *worker) move(s *session, to turn.Source) {
	w.unmove(s)
	s.moving = &moving{to: to}
	if to.Transport != turn.UDP {
		if c := w.streams[to]; c != nil {
			c.session = s
			c.conn.SetAllocated(true)
		}
		return
	}
	l := w.listeners[to.Listener]
	l.clients.Put(to.Client, s)
	if w.moved {
		s.moving.claimed = w.claim(l, to.Client)
	}
}

// claim opens a socket that the kernel prefers for a client whose packets it would give to another worker; nil if that
// fails.
func (w *worker) claim(l *listener, client netip.AddrPort) netio.Port {
	port, err := w.net.Listen(l.port.Local(), w.relay.listenOptions(client))
	if err == nil {
		if err = port.Attach(l); err != nil {
			port.Close()
		}
	}
	if err != nil && w.relay.mayWarn(w.relay.now()) {
		w.log.Warn("a client that moved stays with the worker that cannot serve it", "client", client, "error", err)
	}
	if err != nil {
		return nil
	}
	return port
}

// unmove forgets an address that the client said it moved to.
func (w *worker) unmove(s *session) {
	m := s.moving
	if m == nil {
		return
	}
	if m.to.Transport == turn.UDP {
		w.listeners[m.to.Listener].clients.Delete(m.to.Client)
	} else if c := w.streams[m.to]; c != nil && c.session == s {
		c.session = nil
		c.conn.SetAllocated(false)
	}
	closeClaim(&m.claimed)
	s.moving = nil
}

// closeClaim closes a claimed socket, if there is one.
func closeClaim(port *netio.Port) {
	if *port != nil {
		(*port).Close()
		*port = nil
	}
}
