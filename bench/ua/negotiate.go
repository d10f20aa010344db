package ua

import (
	"crypto/rand"
	"fmt"
	"slices"
)

// session is what offer and answer have agreed on.
type session struct {
	remote     *description
	send       format   // of the audio we send
	receive    []format // what may come
	event      format   // for digits we send; no name when the peer takes none
	sends      bool     // the direction lets us
	protection Protection
	suite      string

	localKey, remoteKey []byte // with protection
}

// offer describes our side of a call that we place.
func (u *UA) offer(m *media) *description {
	d := &description{media: 1, direction: SendRecv, proto: plainProto, rtp: m.local, rtcp: m.rtcp.local()}
	for _, name := range u.config.Codecs {
		d.formats = append(d.formats, format{staticType(name), name})
	}
	d.formats = append(d.formats, format{eventType, event})
	if suite := u.config.SRTP; suite != "" {
		d.proto = secureProto
		d.crypto = []crypto{{cryptoTag, suite, newKey(suite)}}
	}
	return d
}

// accept agrees on the answer to our offer.
func (u *UA) accept(offer, answer *description) (*session, error) {
	if err := checkAnswer(offer, answer); err != nil {
		return nil, err
	}
	s := &session{
		remote: answer, send: answer.audio()[0], receive: offer.formats,
		sends: offer.direction.sends() && answer.direction.receives(),
	}
	s.event, _ = answer.format(event)
	if len(offer.crypto) > 0 {
		return s, u.secure(s, offer.crypto[0], answer.crypto[0])
	}
	return s, nil
}

// answer agrees on an offer and describes our side: one audio format, the first of ours that is offered. before is how
// we described it last, nil at first: what it wanted and its key stay.
func (u *UA) answer(offer *description, m *media, before *description) (*session, *description, error) {
	d := &description{media: 1, proto: plainProto, rtp: m.local, rtcp: m.rtcp.local()}
	if before == nil {
		before = &description{direction: SendRecv}
	}
	d.direction = before.direction.answering(offer.direction)
	if offer.media != 1 {
		return nil, nil, fmt.Errorf("%w: the offer has %d media lines", ErrSDP, offer.media)
	}
	s := &session{remote: offer, sends: d.direction.sends()}
	for _, name := range u.config.Codecs {
		if f, ok := offer.format(name); ok {
			s.send = f
			d.formats = []format{f}
			break
		}
	}
	if s.send.name == "" {
		return nil, nil, fmt.Errorf("%w: none of %v is offered", ErrSDP, u.config.Codecs)
	}
	var hasEvent bool
	if s.event, hasEvent = offer.format(event); hasEvent {
		d.formats = append(d.formats, s.event)
	}
	s.receive = d.formats
	if u.config.SRTP == "" {
		if offer.proto != plainProto || len(offer.crypto) > 0 {
			return nil, nil, fmt.Errorf("%w: %s with %d a=crypto is offered to an endpoint without SRTP", ErrSDP, offer.proto, len(offer.crypto))
		}
		return s, d, nil
	}
	i := slices.IndexFunc(offer.crypto, func(c crypto) bool { return c.suite == u.config.SRTP })
	if offer.proto != secureProto || i < 0 {
		return nil, nil, fmt.Errorf("%w: %s without %s is offered to an endpoint that requires it", ErrSDP, offer.proto, u.config.SRTP)
	}
	d.proto = secureProto
	key := newKey(u.config.SRTP)
	if len(before.crypto) > 0 {
		key = before.crypto[0].key
	}
	d.crypto = []crypto{{offer.crypto[i].tag, u.config.SRTP, key}}
	return s, d, u.secure(s, d.crypto[0], offer.crypto[i])
}

func (u *UA) secure(s *session, local, remote crypto) (err error) {
	s.suite, s.localKey, s.remoteKey = local.suite, local.key, remote.key
	s.protection, err = u.config.Protection(local.suite, local.key, remote.key)
	return err
}

func newKey(suite string) []byte {
	key := make([]byte, keyLen(suite))
	rand.Read(key) // never fails (crypto/rand)
	return key
}

// staticType is the payload type that RFC 3551 gives an encoding.
func staticType(name string) uint8 {
	if name == PCMA {
		return 8
	}
	return 0
}
