package srtp

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/bench/ua"
	"causeway/test/rig"
)

// made is a key of a suite's, under a tag, with an identifier or "".
func made(tag, suite, mki string) protection {
	key := make([]byte, keyBytes[suite])
	_, _ = rand.Read(key)
	return protection{tag: tag, suite: suite, key: hex.EncodeToString(key), mki: mki}
}

// leg is what signalling agreed on for GStreamer's side.
type leg struct {
	*party
	*tap
	theirs, ours protection
}

// ssrc is GStreamer's.
const ssrc = 0x5eed

// call has GStreamer's side call with one key, and checks that the answer is of the same kind.
func (s *stage) call(theirs protection) *leg {
	s.t.Helper()
	l := &leg{party: s.party(poolPeer, poolUs), tap: newTap(s.t, s.net.Addr(poolPeer)), theirs: theirs}
	answer := l.invite(description(1, l.local(), theirs.String(), "sendrecv"))
	l.toward(mediaAt(s.t, answer))
	lines := protections(s.t, answer)
	if len(lines) != 1 || lines[0].tag != theirs.tag || lines[0].suite != theirs.suite || len(lines[0].mki) != len(theirs.mki) || lines[0].key == theirs.key {
		s.t.Fatalf("answered %+v to %+v", lines, theirs)
	}
	l.ours = lines[0]
	return l
}

// faults are the drops that say that the two ends don't agree about the protection or the stream. Others come and go
// with what was under way when signalling changed.
var faults = []string{
	"authentication", "replay", "mki", "key_expired", "ssrc_limit", "malformed", "protect", "new_source",
	"sequence_jump", "duplicate", "late", "rtcp_on_rtp_port", "rtp_on_rtcp_port",
}

// checked looks at the record's leg of GStreamer's side, which must have no faults but those expected.
func checked(t *testing.T, r rig.Record, side, suite string, expected map[string]uint64) {
	t.Helper()
	for _, l := range r.Legs {
		if l.Side != side {
			continue
		}
		if l.SRTP == nil || *l.SRTP != suite || l.Receive.Packets < 50 || l.Send.Packets < 50 {
			t.Errorf("%s leg: %+v", side, l)
		}
		for _, drops := range []map[string]uint64{l.Receive.Drops, l.Send.Drops} {
			for reason, n := range drops {
				if n != expected[reason] && slices.Contains(faults, reason) {
					t.Errorf("%s leg: %d dropped as %s, want %d", side, n, reason, expected[reason])
				}
			}
		}
		for reason, n := range expected {
			if l.Receive.Drops[reason] != n {
				t.Errorf("%s leg: %d dropped as %s, want %d", side, l.Receive.Drops[reason], reason, n)
			}
		}
	}
	if r.Code != 200 || len(r.Legs) != 2 {
		t.Errorf("record: %d with %d legs", r.Code, len(r.Legs))
	}
}

// TestStreams: in every suite GStreamer's stream, begun just before the wrap of its sequence, is heard before it and
// after, and after a hold; what causeway sends, GStreamer opens, RTP and RTCP; and what was sent once is not taken twice.
func TestStreams(t *testing.T) {
	for suite, mki := range map[string]string{
		"AES_CM_128_HMAC_SHA1_80": "00000007", "AES_CM_128_HMAC_SHA1_32": "", "AEAD_AES_128_GCM": "",
		"AEAD_AES_256_GCM": "05", "AES_256_CM_HMAC_SHA1_80": "0102",
	} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			rig.Need(t, "gst-launch-1.0", gstPackage)
			s := newStage(t, "required", "rejected")
			_, calls := s.telephone(gatePeer, gatewayTone)
			l := s.call(made("3", suite, mki))
			other := received(t, calls)
			send := l.sender("sender", l.theirs, ssrc, 65536-40)
			receive := l.receiver(l.ours)
			l.passes(90)
			isTone(t, "the gateway after the wrap", other.Recording(), poolTone)

			l.invite(description(2, l.local(), l.theirs.String(), "inactive"))
			l.hold(true)
			time.Sleep(700 * time.Millisecond)
			if again := protections(t, l.invite(description(3, l.local(), l.theirs.String(), "sendrecv"))); len(again) != 1 || again[0].key != l.ours.key {
				t.Errorf("our key changed in a hold: %+v", again)
			}
			l.hold(false)
			l.passes(60)
			isTone(t, "the gateway after the hold", other.Recording(), poolTone)
			stop(t, send)
			const again = 50
			l.replay(again)
			receive.hears(t, gatewayTone)
			rig.Eventually(t, patience, "the end of the first RTCP interval", func() string {
				if receive.reports(t) == 0 {
					return "no report of causeway's was opened"
				}
				return ""
			})
			rig.Eventually(t, patience, "what is sent again arrives", func() string {
				const series = `causeway_mediation_media_dropped_packets_total{`
				for name, n := range s.Metrics() {
					if strings.HasPrefix(name, series) && strings.Contains(name, `"replay"`) && strings.Contains(name, `"pool"`) && n >= again {
						return ""
					}
				}
				return "less than that is dropped"
			})
			_, _, came, _, _ := l.counts()
			l.bye()
			stop(t, receive.Process)
			checked(t, s.recorded(), pool, suite, map[string]uint64{"replay": again})
			// It takes a while to start; from then on it must have opened everything.
			if opened := len(receive.heard(t)) / 160; opened < (came-receive.after)/2 {
				t.Errorf("GStreamer opened %d packets of %d", opened, came-receive.after)
			}
			if n := s.Metric("causeway_mediation_media_rtcp_packets_received_total"); n == 0 {
				t.Error("no report of GStreamer's was opened")
			}
		})
	}
}

// TestHoldOverTheWrap: the sequence wraps while the call is held and nothing of it is seen.
func TestHoldOverTheWrap(t *testing.T) {
	t.Parallel()
	rig.Need(t, "gst-launch-1.0", gstPackage)
	s := newStage(t, "required", "rejected")
	_, calls := s.telephone(gatePeer, gatewayTone)
	l := s.call(made("1", "AEAD_AES_256_GCM", ""))
	other := received(t, calls)
	l.sender("sender", l.theirs, ssrc, 65536-75)
	l.passes(40)
	l.hold(true)
	l.invite(description(2, l.local(), l.theirs.String(), "inactive"))
	rig.Eventually(t, patience, "the sequence wraps", func() string {
		if _, _, _, last, _ := l.counts(); last < 20 || last > 30000 {
			return "not yet"
		}
		return ""
	})
	l.invite(description(3, l.local(), l.theirs.String(), "sendrecv"))
	l.hold(false)
	l.passes(50)
	isTone(t, "the gateway", other.Recording(), poolTone)
	l.bye()
	checked(t, s.recorded(), pool, "AEAD_AES_256_GCM", nil)
}

// TestNewKeyAfterTheWrap: the peer changes its key, with a context that counts from zero, as GStreamer's next pipeline
// does; then its suite, and ours with it, whose new stream GStreamer opens.
func TestNewKeyAfterTheWrap(t *testing.T) {
	t.Parallel()
	rig.Need(t, "gst-launch-1.0", gstPackage)
	const first, then = "AES_CM_128_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_80"
	s := newStage(t, "required", "rejected")
	_, calls := s.telephone(gatePeer, gatewayTone)
	l := s.call(made("1", first, ""))
	other := received(t, calls)
	send := l.sender("first", l.theirs, ssrc, 65536-30)
	l.passes(60)
	stop(t, send)
	_, _, _, last, _ := l.counts()
	l.theirs = made("2", first, "")
	if lines := protections(t, l.invite(description(2, l.local(), l.theirs.String(), "sendrecv"))); lines[0].key != l.ours.key || lines[0].tag != "2" {
		t.Errorf("answered %+v", lines)
	}
	send = l.sender("second", l.theirs, ssrc, last+1)
	l.passes(50)
	isTone(t, "the gateway under the new key", other.Recording(), poolTone)
	stop(t, send)

	l.theirs = made("1", then, "00ff")
	lines := protections(t, l.invite(description(3, l.local(), l.theirs.String(), "sendrecv")))
	if len(lines) != 1 || lines[0].suite != then || len(lines[0].mki) != 4 {
		t.Fatalf("answered %+v", lines)
	}
	_, _, _, _, before := l.counts()
	rig.Eventually(t, patience, "our stream is another", func() string {
		if _, _, _, _, now := l.counts(); now == before {
			return "the same"
		}
		return ""
	})
	receive := l.receiver(lines[0])
	l.sender("third", l.theirs, ssrc, 1000)
	l.passes(60)
	isTone(t, "the gateway in the new suite", other.Recording(), poolTone)
	receive.hears(t, gatewayTone)
	l.bye()
	checked(t, s.recorded(), pool, then, nil)
}

// TestGatewayLeg: SRTP toward the gateway by the same policy, of a suite that it chooses from our offer, and plain RTP
// toward the pool.
func TestGatewayLeg(t *testing.T) {
	t.Parallel()
	rig.Need(t, "gst-launch-1.0", gstPackage)
	const suite = "AES_256_CM_HMAC_SHA1_80"
	s := newStage(t, "rejected", "required")
	phone, _ := s.telephone(poolPeer, gatewayTone) // its tone is the far end's here
	l := &leg{party: s.party(gatePeer, gateUs), tap: newTap(t, s.net.Addr(gatePeer))}
	placed := make(chan *ua.Call, 1)
	go func() {
		call, err := phone.Call(t.Context(), "sip:+14255550123@"+s.at(poolUs).String(), ua.Options{})
		if err != nil {
			t.Error(err)
		}
		placed <- call
	}()
	l.answer(func(offer string) string {
		l.toward(mediaAt(t, offer))
		for _, p := range protections(t, offer) {
			if p.suite == suite {
				l.ours = p
			}
		}
		l.theirs = made(l.ours.tag, suite, "")
		return description(1, l.local(), l.theirs.String(), "sendrecv")
	})
	call := <-placed
	if call == nil {
		t.FailNow()
	}
	receive := l.receiver(l.ours)
	l.sender("sender", l.theirs, ssrc, 65536-30)
	l.passes(100)
	isTone(t, "the pool", call.Recording(), poolTone)
	receive.hears(t, gatewayTone)
	l.bye()
	checked(t, s.recorded(), gateway, suite, nil)
}
