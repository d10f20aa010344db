package media

import (
	"fmt"
	"net/netip"
	"time"
)

// Set gives one side what signalling agreed, and may do so again: early media and
// then the answer, hold, a re-INVITE. When it returns, packets are treated by it.
// Media flows once both sides are set.
//
// What stays the same goes on: the outgoing stream keeps its SSRC and sequence
// unless the leg's local key changes, the keys keep their counters as long as
// they are the same, and packets under a changed remote key are good for another
// 5 s.
//
// Errors wrap [ErrPayload], [ErrRemote], [ErrKey] or [ErrClosed]; the side is then
// as it was.
func (b *Bridge) Set(s Side, leg Leg) error {
	if err := leg.check(b.Local(s).Addr()); err != nil {
		return fmt.Errorf("%s leg: %w", s, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fmt.Errorf("%s leg: bridge: %w", s, ErrClosed)
	}
	change, err := planKeys(b.keys[s], leg.SRTP)
	if err != nil {
		return fmt.Errorf("%s leg: %w", s, err)
	}
	err = errFailed
	b.onWorker(func(now time.Time) {
		if !b.failed && !b.ended {
			b.halves[s].apply(&leg, change, now)
			err = nil
		}
	})
	if err != nil {
		return fmt.Errorf("%s leg: %w", s, err)
	}
	b.keepKeys(s, leg.SRTP)
	return nil
}

// apply makes a half what signalling said, on the worker's goroutine.
func (h *half) apply(leg *Leg, change keyChange, now time.Time) {
	h.set = true
	h.locate(leg, now)
	h.receiveKind = [128]Kind{}
	for _, p := range leg.Receive {
		h.receiveKind[p.Type] = p.Kind
	}
	h.sendType = sendTypes(leg.Send)
	h.convertTo = firstAudio(leg.Send)
	h.applyKeys(leg.SRTP, change, now)
	if leg.Anew {
		h.open.settle()
		h.in.await()
	}
	h.schedule(now)
}

// locate makes a leg's addresses those that signalling said. A peer on hold stays
// where it was: it may still play music from there.
func (h *half) locate(leg *Leg, now time.Time) {
	remote := destination(leg.Remote)
	h.silent, h.mux, h.reducedSize = !remote.IsValid(), leg.Mux, leg.ReducedSize
	h.learning.signal(remote, leg.Learning, leg.Anew, now)
	if (leg.SRTP != nil) != (h.secure != 0) {
		h.learning.restart() // another kind of proof
	}
	if h.learning.at == h.learning.signalled {
		h.learnedRTCP = netip.AddrPort{}
	}
	if !h.silent {
		h.signalledRTCP = destination(leg.RemoteRTCP)
		if !h.signalledRTCP.IsValid() && remote.Port() < 65535 {
			h.signalledRTCP = netip.AddrPortFrom(remote.Addr(), remote.Port()+1)
		}
	}
	h.aim()
}

// destination is an address that can be sent to, without IPv6 clothes, or zero.
func destination(a netip.AddrPort) netip.AddrPort {
	if addr := a.Addr().Unmap(); addr.IsValid() && !addr.IsUnspecified() {
		return netip.AddrPortFrom(addr, a.Port())
	}
	return netip.AddrPort{}
}

// sendTypes turns the peer's list around; a kind that stands twice gets its first
// number.
func sendTypes(list []Payload) (types [kinds]int16) {
	for k := range types {
		types[k] = -1
	}
	for _, p := range list {
		if types[p.Kind] < 0 {
			types[p.Kind] = int16(p.Type)
		}
	}
	return types
}

func firstAudio(list []Payload) Kind {
	for _, p := range list {
		if p.Kind.audio() {
			return p.Kind
		}
	}
	return 0
}
