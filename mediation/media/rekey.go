package media

import (
	"bytes"
	"time"
)

// keyChange is what has to be made for a leg's new keys; the parts that stay are
// nil.
type keyChange struct {
	open      *opener
	alternate *opened
	seal      *sealer
}

// planKeys makes the contexts that the step from one set of keys to another needs.
// That takes some microseconds, which the worker doesn't have.
func planKeys(from, to *SRTP) (c keyChange, err error) {
	if to == nil {
		return c, nil
	}
	same := from != nil && from.Profile == to.Profile
	if !same || !bytes.Equal(from.Remote, to.Remote) {
		if c.open, err = newOpener(to.Profile, to.Remote); err != nil {
			return c, err
		}
	}
	if c.open != nil && from != nil {
		if c.alternate, err = newOpened(to.Profile, to.Remote); err != nil {
			return c, err
		}
	}
	if !same || !bytes.Equal(from.Local, to.Local) {
		ctx, err := newContext(to.Profile, to.Local)
		if err != nil {
			return c, err
		}
		c.seal = &sealer{ctx}
	}
	return c, nil
}

// keepKeys remembers a side's keys, to compare the next with, and wipes the ones
// before. They are kept while the leg is plain, because coming back to them has to
// go on where they were left: a counter that starts over would use a key stream
// twice. b.mu is held.
func (b *Bridge) keepKeys(s Side, keys *SRTP) {
	if keys == nil {
		return
	}
	b.wipeKeys(s)
	b.keys[s] = &SRTP{keys.Profile, bytes.Clone(keys.Local), bytes.Clone(keys.Remote)}
}

func (b *Bridge) wipeKeys(s Side) {
	if old := b.keys[s]; old != nil {
		clear(old.Local)
		clear(old.Remote)
		b.keys[s] = nil
	}
}

func (h *half) applyKeys(keys *SRTP, change keyChange, now time.Time) {
	if keys == nil {
		h.secure = 0
		return
	}
	// A leg that was plain for a while and comes back to its keys has moved on in
	// its sequence, and the key's rollover counter has not: going on in the same
	// stream could use a key stream twice (RFC 3711 section 9.1).
	if h.secure == 0 && h.seal != nil && change.seal == nil && h.out.started {
		h.newStream()
	}
	h.secure = keys.Profile
	if change.open != nil {
		if h.open != nil {
			change.open.succeed(h.open, change.alternate, h.in.ssrc, now)
		}
		h.open = change.open
	}
	if change.seal != nil {
		// A new key starts with a new stream, and so with a rollover counter that is
		// zero by anybody's reading of RFC 3711 section 3.3.1.
		h.seal = change.seal
		if h.out.started || h.reports.any {
			h.newStream()
		}
	}
}
