package mediation

import (
	"slices"
	"sync"

	"causeway/mediation/sip"
)

// letter is an event of one of a call's sessions.
type letter struct {
	from party
	ev   sip.Event
}

const (
	// mailboxSize is how many events wait for a call's goroutine before those
	// that a call can do without are given up.
	mailboxSize = 16
	// mailboxLimit is never reached by sessions that keep their word, since of
	// everything else each may tell but once at a time; a call whose mailbox is
	// that full is ended.
	mailboxLimit = 48
)

// mailbox holds events for a call's goroutine. Whoever delivers one is on the
// way of the peer's messages and never waits: when the box is full, provisional
// responses without a session description are given up first, the oldest of
// them first, then INFO, then provisional responses altogether. The zero value
// has no room to tell anybody: see newMailbox.
type mailbox struct {
	ready chan struct{} // has one element when there is something to take

	mu      sync.Mutex // guards the following
	letters []letter
	closed  bool
}

func newMailbox() mailbox { return mailbox{ready: make(chan struct{}, 1)} }

// put delivers one event. It says whether the call still takes events, whether
// one had to be given up, and whether the box is beyond its limit.
func (m *mailbox) put(l letter) (open, dropped, over bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false, false, false
	}
	m.letters = append(m.letters, l)
	if len(m.letters) > mailboxSize {
		dropped = m.thin()
	}
	if len(m.letters) > mailboxLimit {
		m.letters = m.letters[:mailboxLimit]
		over = true
	}
	select {
	case m.ready <- struct{}{}:
	default:
	}
	return true, dropped, over
}

// thin gives up the letter that is missed least; m.mu is held.
func (m *mailbox) thin() bool {
	for _, dispensable := range []func(sip.Event) bool{
		func(ev sip.Event) bool { return ev.Kind == sip.Progress && ev.SDP == nil },
		func(ev sip.Event) bool { return ev.Kind == sip.Info },
		func(ev sip.Event) bool { return ev.Kind == sip.Progress },
	} {
		if i := slices.IndexFunc(m.letters, func(l letter) bool { return dispensable(l.ev) }); i >= 0 {
			m.letters = slices.Delete(m.letters, i, i+1)
			return true
		}
	}
	return false
}

// take is the oldest letter.
func (m *mailbox) take() (letter, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.letters) == 0 {
		return letter{}, false
	}
	l := m.letters[0]
	m.letters = slices.Delete(m.letters, 0, 1)
	return l, true
}

// shut refuses what comes from now on: put says so to whoever delivers.
func (m *mailbox) shut() {
	m.mu.Lock()
	m.closed, m.letters = true, nil
	m.mu.Unlock()
}
