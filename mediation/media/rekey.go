package media

import (
	"bytes"
	"time"
)

// keyChange is what has to be made for a leg's new keys; a context that stays is
// nil.
type keyChange struct {
	open                *opener
	seal                *sealer
	localMKI, remoteMKI []byte
	lifetime            uint64 // of the remote key
}

// planKeys makes the contexts that the step from one set of keys to another needs.
// That takes some microseconds, which the worker doesn't have.
func planKeys(from, to *SRTP) (c keyChange, err error) {
	if to == nil {
		return c, nil
	}
	c.localMKI, c.remoteMKI = bytes.Clone(to.LocalMKI), bytes.Clone(to.RemoteMKI)
	c.lifetime = to.RemoteLifetime
	same := from != nil && from.Profile == to.Profile
	if !same || !bytes.Equal(from.Remote, to.Remote) {
		if c.open, err = newOpener(to.Profile, to.Remote); err != nil {
			return c, err
		}
	}
	if !same || !bytes.Equal(from.Local, to.Local) {
		if c.seal, err = newSealer(to.Profile, to.Local); err != nil {
			return c, err
		}
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
	b.keys[s] = &SRTP{Profile: keys.Profile, Local: bytes.Clone(keys.Local), Remote: bytes.Clone(keys.Remote)}
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
	// stream could use a key stream twice (RFC 3711 section 9.1). A new key starts
	// with a new stream, too, and so with a rollover counter that is zero by
	// anybody's reading of RFC 3711 section 3.3.1.
	back := h.secure == 0 && h.seal != nil && h.out.started
	if back || change.seal != nil {
		h.replaceStream(now)
	}
	h.secure = keys.Profile
	if change.open != nil {
		if h.open != nil {
			change.open.succeed(h.open, now)
		}
		h.open = change.open
	}
	if change.seal != nil {
		h.seal = change.seal
	}
	h.seal.mki = change.localMKI
	h.open.now.mki, h.open.now.lifetime = change.remoteMKI, change.lifetime
}

// replaceStream starts another outgoing stream, if the present one was heard of.
// The peer is told that it ends (RFC 3550 section 6.6), under the protection that
// it had.
func (h *half) replaceStream(now time.Time) {
	if !h.out.started && !h.reports.any {
		return
	}
	h.sendReport(now, true)
	h.newStream()
}
