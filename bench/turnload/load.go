// Package turnload loads a TURN server (RFC 8656) over UDP with allocations and voice, and says what came of it. Any
// server will do: it takes a permission and a channel for each client as every server has them, and asks for nothing
// else.
//
// A [Load] plays both ends: the clients, which send and receive ChannelData, and their peers, which send and receive
// plain UDP at the relayed addresses. So delay is measured on one clock, loss each way on its own, and what the server
// spent is for whoever runs it to read ([CPU], [Resident]).
//
// It sends at the times that were asked for, however late the server is (an open loop): a server that stalls is seen to
// stall. One goroutine does everything and, while it sends, keeps a processor busy; give it one that the server does not
// use, or it measures itself.
package turnload

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"causeway/relay/turn"
)

// Options say whom to load, and with how many.
type Options struct {
	// Server is the server's address.
	Server netip.AddrPort
	// Client and Peer are where the clients and their peers are bound, of the server's family. Keep them off the
	// server's relay address: the ports that they get could be among its relay ports.
	Client, Peer netip.Addr
	// Sessions is how many clients there are. Each has one socket, one allocation, one permission and one channel.
	Sessions int
	// Peers is how many sockets play peers, which the clients are dealt to in turn. 0 is one for each client.
	Peers int
	// InFlight is how many clients have a request under way at a time while they set up; 0 is 64.
	InFlight int
	// Credentials gives the long-term credential of a client, which are counted from 0.
	Credentials func(client int) (user, password string)
}

// Load is a set of clients and peers. It belongs to one goroutine.
type Load struct {
	o        Options
	sessions []*session
	peers    []peer
	poll     *poller
	start    time.Time // what times on the wire and in sessions count from
	runs     uint32

	msg     turn.Message
	out     turn.Composer
	receive [2048]byte
	packet  [turn.ChannelHeaderSize + maxPayload]byte
}

// Open opens the sockets of clients and peers. Nothing is sent. Whoever gets a Load has to Close it.
func Open(o Options) (*Load, error) {
	if o.InFlight == 0 {
		o.InFlight = 64
	}
	if o.Peers == 0 {
		o.Peers = o.Sessions
	}
	if o.Sessions < 1 || o.Peers < 1 || o.InFlight < 1 || o.Credentials == nil {
		return nil, errors.New("turnload: needs sessions, peers and credentials")
	}
	poll, err := newPoller()
	if err != nil {
		return nil, fmt.Errorf("turnload: %w", err)
	}
	l := &Load{o: o, poll: poll, start: time.Now()}
	if err := l.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("turnload: %w", err), l.release())
	}
	return l, nil
}

// open opens the sockets, and gives each the number by which the poller tells of it: the clients', then the peers'.
func (l *Load) open() error {
	for range l.o.Peers {
		s, err := listen(netip.AddrPortFrom(l.o.Peer, 0))
		if err != nil {
			return err
		}
		l.peers = append(l.peers, peer{socket: s})
		if err := l.poll.add(s, l.o.Sessions+len(l.peers)-1); err != nil {
			return err
		}
	}
	for i := range l.o.Sessions {
		s, err := listen(netip.AddrPortFrom(l.o.Client, 0))
		if err != nil {
			return err
		}
		user, password := l.o.Credentials(i)
		l.sessions = append(l.sessions, &session{
			socket: s, number: uint32(i), user: user, password: password, peer: &l.peers[i%l.o.Peers],
		})
		if err := s.connect(l.o.Server); err != nil {
			return err
		}
		if err := l.poll.add(s, i); err != nil {
			return err
		}
	}
	return nil
}

// Close deletes the allocations that there are, if the server still answers, and closes the sockets.
func (l *Load) Close(ctx context.Context) error {
	var left []*session
	for _, s := range l.sessions {
		if s.step > allocate {
			s.step = remove
			left = append(left, s)
		}
	}
	_, err := l.exchange(ctx, left, removed)
	if err != nil {
		err = fmt.Errorf("turnload: delete the allocations: %w", err)
	}
	return errors.Join(err, l.release())
}

// release closes what Open opened.
func (l *Load) release() error {
	for _, s := range l.sessions {
		s.socket.close()
	}
	for _, p := range l.peers {
		p.socket.close()
	}
	return l.poll.close()
}

// since is the time on the clock of this load.
func (l *Load) since() time.Duration { return time.Since(l.start) }
