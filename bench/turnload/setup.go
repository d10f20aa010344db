package turnload

import (
	"context"
	"fmt"
	"slices"
	"time"

	"causeway/relay/turn"
)

// SetUps is what setting clients up came to.
type SetUps struct {
	Count           int
	Took            time.Duration
	Retransmissions int
	Latency         Histogram // from a client's first request to its last answer
}

// SetUp gives every client its allocation, permission and channel, as clients do: an Allocate request without
// credentials that the server refuses, then Allocate, CreatePermission and ChannelBind with credentials. It fails with
// the first client that is refused or gets no answer.
func (l *Load) SetUp(ctx context.Context) (SetUps, error) {
	done, err := l.exchange(ctx, l.sessions, ready)
	if err != nil {
		return done, fmt.Errorf("turnload: set up: %w", err)
	}
	return done, nil
}

// lookAfter is how long the sockets may be quiet before the requests under way are looked at.
const lookAfter = 50 * time.Millisecond

// exchange has clients send their requests until each has come to a step, some at a time.
func (l *Load) exchange(ctx context.Context, clients []*session, until step) (done SetUps, err error) {
	start := l.since()
	looked := start
	var busy []*session
	for waiting := clients; len(waiting) > 0 || len(busy) > 0; {
		for len(busy) < l.o.InFlight && len(waiting) > 0 {
			s := waiting[0]
			waiting, busy = waiting[1:], append(busy, s)
			s.began = l.since()
			if err := l.request(s, false); err != nil {
				return done, err
			}
		}
		if err := l.answers(&done, until); err != nil {
			return done, err
		}
		busy = slices.DeleteFunc(busy, func(s *session) bool { return s.step == until })
		if now := l.since(); now-looked > lookAfter {
			looked = now
			if err := l.retransmit(busy, &done); err != nil {
				return done, err
			}
			if err := ctx.Err(); err != nil {
				return done, err
			}
		}
	}
	done.Took = l.since() - start
	return done, nil
}

// answers waits for what is ready, and has those clients go on that got an answer.
func (l *Load) answers(done *SetUps, until step) error {
	for number := range l.poll.wait(lookAfter) {
		if number >= len(l.sessions) {
			l.peers[number-len(l.sessions)].socket.discard(l.receive[:])
			continue
		}
		s := l.sessions[number]
		n, ok := s.socket.receive(l.receive[:])
		if !ok || s.step == until || turn.Classify(l.receive[:n]) != turn.KindSTUN {
			continue
		}
		answered, err := l.answer(s, l.receive[:n])
		switch {
		case err != nil:
			return err
		case !answered:
			continue
		case s.step == until:
			done.Count++
			done.Latency.Add(l.since() - s.began)
			continue
		}
		if err := l.request(s, false); err != nil {
			return err
		}
	}
	return nil
}

// retransmit sends those requests again that should have been answered by now.
func (l *Load) retransmit(busy []*session, done *SetUps) error {
	now := l.since()
	for _, s := range busy {
		again, err := s.overdue(now)
		if err != nil {
			return err
		}
		if !again {
			continue
		}
		done.Retransmissions++
		if err := l.request(s, true); err != nil {
			return err
		}
	}
	return nil
}
