package relay

import (
	"fmt"
	"net/netip"
	"time"

	"causeway/internal/netio"
	"causeway/relay/turn"
)

// relayPort is a bound UDP relay port that no session has yet.
type relayPort struct {
	family turn.Family
	port   netio.Port
}

// open makes the session of a new allocation and its relayed addresses.
func (w *worker) open(now time.Time, a turn.Action) {
	s := &session{worker: w, id: a.ID}
	s.lease.Init(w.machine.Account(a.ID))
	w.sessions[a.ID] = s
	w.join(s, a.To)

	var opened turn.Opened
	switch {
	case a.Ports.Reserved:
		opened = w.openReserved(s, a)
	case a.Ports.TCP:
		opened = w.openTCP(now, s, a)
	default:
		opened = w.openUDP(now, s, a)
	}
	if !a.Ports.Reserved {
		w.relay.failing.Store(opened.Err != nil)
	}
	if opened.Err != nil {
		w.relay.openFailures.Add(1)
		if w.relay.mayWarn(now) {
			w.log.Warn("a relay port could not be opened", "client", a.To.Client, "error", opened.Err)
		}
	}
	w.do(now, w.machine.Opened(now, a.ID, opened))
}

// openReserved takes over the port that an earlier allocation reserved.
func (w *worker) openReserved(s *session, a turn.Action) (o turn.Opened) {
	held, ok := w.relay.reserved.take(a.Token, a.User)
	if !ok {
		return o // no such token: nothing to warn of
	}
	if o.Err = w.net.Adopt(held.port); o.Err == nil {
		o.Err = w.attachEnd(s, held)
	}
	if o.Err != nil {
		held.port.Close()
		w.relay.pools[poolKey{family: held.family}].put(w.relay.now(), held.port.Local().Port())
		return o
	}
	o.Relayed[held.family] = held.port.Local()
	return o
}

// openUDP binds a port in each family that is asked for.
func (w *worker) openUDP(now time.Time, s *session, a turn.Action) (o turn.Opened) {
	for f, wanted := range a.Ports.Families {
		family := turn.Family(f)
		if !wanted || !w.relay.addresses[f].IsValid() {
			continue
		}
		port, pair, err := w.bind(now, family, a.Ports.Even, a.Ports.Reserve)
		if err != nil {
			o.Err = err
			continue
		}
		if o.Err = w.attachEnd(s, port); o.Err != nil {
			w.relay.closePort(now, port)
			if a.Ports.Reserve {
				w.relay.closePort(now, pair)
			}
			continue
		}
		o.Relayed[f] = port.port.Local()
		if !a.Ports.Reserve {
			continue
		}
		if o.Token, err = turn.NewToken(w.relay.random); err != nil || !w.relay.reserved.hold(o.Token, pair, a.User) {
			// No pair, no allocation: 508. Without an error, the user holds as many ports without allocations as
			// allocations are allowed.
			o.Err, o.Relayed[f] = err, netip.AddrPort{}
			w.relay.closePort(now, pair)
			s.closeEnd(now, family)
		}
	}
	return o
}

func (w *worker) attachEnd(s *session, p relayPort) error {
	end := &s.ends[p.family]
	end.session, end.port = s, p.port
	if err := p.port.Attach(end); err != nil {
		end.port = nil
		return err
	}
	return nil
}

// bind opens a relay port, and the next higher one if a pair is asked for. A port that another program holds is set
// aside like one that was used.
func (w *worker) bind(now time.Time, f turn.Family, even, pair bool) (port, next relayPort, err error) {
	pool := w.relay.pools[poolKey{family: f}]
	err = errNoPorts
	for range bindTries {
		number, ok := pool.take(now, even, pair)
		if !ok {
			return port, next, err
		}
		first, firstErr := w.listen(f, number)
		if !pair {
			if firstErr == nil {
				return relayPort{f, first}, next, nil
			}
			pool.put(now, number)
			err = firstErr
		} else {
			second, secondErr := w.listen(f, number+1)
			if firstErr == nil && secondErr == nil {
				return relayPort{f, first}, relayPort{f, second}, nil
			}
			for i, p := range []netio.Port{first, second} {
				if p != nil {
					p.Close()
				}
				pool.put(now, number+uint16(i))
			}
			err = firstErr
			if err == nil {
				err = secondErr
			}
		}
		if !inUse(err) {
			break
		}
	}
	return port, next, fmt.Errorf("open a relay port: %w", err)
}

func (w *worker) listen(f turn.Family, number uint16) (netio.Port, error) {
	return w.net.Listen(netip.AddrPortFrom(w.relay.addresses[f], number), netio.Options{
		Fields: true, Errors: true, Large: true,
	})
}

// close ends a session.
func (w *worker) close(now time.Time, s *session) {
	delete(w.sessions, s.id)
	w.closedToPeer.add(trafficOf(&s.path.ToPeer))
	w.closedToClient.add(trafficOf(&s.path.ToClient))
	w.relay.quality.observe("to_peer", &s.path.ToPeer)
	w.relay.quality.observe("to_client", &s.path.ToClient)
	w.unmove(s)
	w.leave(s)
	for f := range s.ends {
		s.closeEnd(now, turn.Family(f))
	}
	closeClaim(&s.claimed)
	s.closeTCP(now)
	s.lease.Return()
}

// closeEnd gives one relayed address back.
func (s *session) closeEnd(now time.Time, f turn.Family) {
	end := &s.ends[f]
	if end.port == nil {
		return
	}
	addCounters(&s.worker.closedSockets, end.port.Counters())
	end.port.Close()
	s.worker.relay.pools[poolKey{family: f}].put(now, end.port.Local().Port())
	end.port = nil
}

// join makes a five-tuple the client of a session.
func (w *worker) join(s *session, source turn.Source) {
	s.source, s.listener, s.conn = source, nil, nil
	if source.Transport == turn.UDP {
		s.listener = w.listeners[source.Listener]
		s.listener.clients.Put(source.Client, s)
		return
	}
	if c := w.streams[source]; c != nil {
		s.conn = c.conn
		c.session = s
		c.conn.SetAllocated(true)
	}
}

// leave takes a session's client from it.
func (w *worker) leave(s *session) {
	if s.source.Transport == turn.UDP && s.source.Client.IsValid() {
		w.listeners[s.source.Listener].clients.Delete(s.source.Client)
	} else if c := w.streams[s.source]; c != nil && c.session == s { // the address may be another client's by now
		c.session = nil
		c.conn.SetAllocated(false)
	}
	s.listener, s.conn = nil, nil
}

// settle makes to the only five-tuple of a session: the one that the client moved to, the old one if that was lost, or
// none until the client comes back.
func (w *worker) settle(s *session, to turn.Source) {
	if !to.Client.IsValid() {
		w.leave(s)
		s.source = to
		return
	}
	m := s.moving
	if m == nil || to != m.to {
		w.unmove(s)
		return
	}
	w.leave(s)
	closeClaim(&s.claimed)
	s.claimed, s.moving = m.claimed, nil
	w.join(s, to)
}
