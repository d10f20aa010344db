package interop

import (
	"fmt"
	"math"
	"testing"
	"time"

	"causeway/bench/tone"
	"causeway/test/rig"
	"causeway/test/rig/baresip"
)

// Tones that are not multiples of each other, so that distortion of one does
// not pass for the other.
const (
	softphoneTone = 440.0  // Hz
	gatewayTone   = 1020.0 // Hz

	toneLevel = baresip.ToneLevel // dBFS
)

// Two people on two baresips talk through causeway: one encrypted over TLS, as
// a softphone of the pool, the other in plain RTP over TCP, as the gateway.
// Each must hear the other's tone as loud as it was played, without gaps, and
// nothing of its own.
func TestPhonesHearEachOther(t *testing.T) {
	for _, c := range []struct {
		name             string
		fromGateway      bool
		calleeHangsUp    bool
		policy           string // pool.srtp
		encrypt          string // the softphone's
		softphone, trunk string // codecs, and those that the record must have
	}{
		{"softphone calls, hangs up", false, false, "required", "srtp-mand", "PCMU", "PCMU"},
		{"softphone calls, laws differ, gateway hangs up", false, true, "required", "srtp-mand", "PCMU", "PCMA"},
		{"softphone offers keys with RTP/AVP", false, false, "optional", "srtp", "PCMA", "PCMA"},
		{"gateway calls, hangs up", true, false, "required", "srtp-mand", "PCMA", "PCMA"},
		{"gateway calls, laws differ, softphone hangs up", true, true, "required", "srtp-mand", "PCMA", "PCMU"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			// baresip sends RTP and opens TCP connections from the address that
			// the kernel prefers toward its peer, so both phones are on
			// 127.0.0.1; causeway's two sides still are two addresses.
			softphoneSIP, gatewaySIP := rig.Ports(t, 2), rig.Ports(t, 2)
			s := start(t, lab{
				NextHop:     fmt.Sprintf("sip:127.0.0.1:%d;transport=tls", softphoneSIP+1),
				GatewayPeer: fmt.Sprintf("sip:127.0.0.1:%d", gatewaySIP),
				PoolSRTP:    c.policy,
			})
			before := s.holdings()
			softphone := baresip.Start(t, baresip.Config{
				Name: "softphone", User: "+14255550100", IP: "127.0.0.1", SIP: softphoneSIP,
				Transport: "tls", Encrypt: c.encrypt, Codecs: c.softphone, Tone: softphoneTone, TLS: certs,
			})
			gateway := baresip.Start(t, baresip.Config{
				Name: "gateway", User: "+14255550123", IP: "127.0.0.1", SIP: gatewaySIP,
				Transport: "tcp", Codecs: c.trunk, Tone: gatewayTone, TLS: certs,
			})

			caller, callee := softphone, gateway
			callerSide, calleeSide := "pool", "gateway"
			if c.fromGateway {
				caller, callee = gateway, softphone
				callerSide, calleeSide = "gateway", "pool"
				caller.Dial("sip:+14255550100@" + s.gateway())
			} else {
				caller.Dial("sip:+14255550123@" + s.pool())
			}
			caller.Seen("CALL_ESTABLISHED", 10*time.Second)
			callee.Seen("CALL_ESTABLISHED", 10*time.Second)
			if enc := softphone.Seen("CALL_MENC", time.Second).Param; enc == "" {
				t.Error("the softphone does not say how its media is encrypted")
			}
			time.Sleep(4 * time.Second) // of conversation
			endedBy := callerSide
			if c.calleeHangsUp {
				endedBy = calleeSide
				callee.Hangup()
				caller.Seen("CALL_CLOSED", 5*time.Second)
			} else {
				caller.Hangup()
				callee.Seen("CALL_CLOSED", 5*time.Second)
			}

			hears(t, softphone, gatewayTone, softphoneTone)
			hears(t, gateway, softphoneTone, gatewayTone)

			r := s.recorded(1, 5*time.Second)[0]
			if want := map[bool]string{false: "pool_to_gateway", true: "gateway_to_pool"}[c.fromGateway]; r.Direction != want {
				t.Errorf("record: direction %s, want %s", r.Direction, want)
			}
			if r.Code != 200 || r.EndedBy != endedBy || r.Answer == nil || r.End == nil {
				t.Errorf("record: code %d, ended by %q at %v, answered %v; want 200 by %s", r.Code, r.EndedBy, r.End, r.Answer, endedBy)
			}
			talked(t, r, map[string]string{"pool": c.softphone, "gateway": c.trunk})
			s.settled(before, 20*time.Second)
		})
	}
}

// hears looks at what a phone recorded: the other's tone at the level it was
// played, its own at least 40 dB below, no gap once sound has begun.
func hears(t *testing.T, p *baresip.Phone, other, own float64) {
	t.Helper()
	pcm := p.Heard()
	if d := tone.Duration(len(pcm)); d < 3*time.Second {
		t.Errorf("%s heard %v of a call of 4 s", p.Name, d)
		return
	}
	// The first quarter second is jitter buffers filling.
	steady := pcm[tone.Samples(250*time.Millisecond):]
	got, echo := tone.ToneLevel(steady, other), tone.ToneLevel(steady, own)
	if math.Abs(got-toneLevel) > 1 {
		t.Errorf("%s heard %g Hz at %.1f dBFS, want %.1f", p.Name, other, got, toneLevel)
	}
	if echo > toneLevel-40 {
		t.Errorf("%s heard its own %g Hz at %.1f dBFS", p.Name, own, echo)
	}
	if all := tone.Level(steady); all > got+0.5 {
		t.Errorf("%s heard %.1f dBFS in all, but only %.1f of it is the tone", p.Name, all, got)
	}
	// baresip's player starts with what its buffer holds; later a frame may be
	// missing when this machine is busy, but never a stretch that people hear.
	if gaps := tone.Gaps(steady, -40, 60*time.Millisecond); len(gaps) > 0 {
		t.Errorf("%s heard gaps: %v", p.Name, gaps)
	}
	t.Logf("%s heard %g Hz at %.2f dBFS for %v", p.Name, other, got, tone.Duration(len(pcm)))
}

// talked checks what a record says of the media of an answered call of about
// 4 s: both directions on both legs, nothing lost on loopback, encryption on
// the pool side and none toward the gateway.
func talked(t *testing.T, r rig.Record, codecs map[string]string) {
	t.Helper()
	if len(r.Legs) != 2 {
		t.Fatalf("record has %d legs, want 2: %+v", len(r.Legs), r)
	}
	for _, leg := range r.Legs {
		if leg.Codec != codecs[leg.Side] {
			t.Errorf("record: %s leg has codec %q, want %q", leg.Side, leg.Codec, codecs[leg.Side])
		}
		if encrypted := leg.SRTP != nil; encrypted != (leg.Side == "pool") {
			t.Errorf("record: %s leg has srtp %v", leg.Side, leg.SRTP)
		}
		if leg.Receive.Packets < 150 || leg.Send.Packets < 150 {
			t.Errorf("record: %s leg received %d packets and sent %d in 4 s", leg.Side, leg.Receive.Packets, leg.Send.Packets)
		}
		if leg.Receive.Lost == nil || *leg.Receive.Lost != 0 {
			t.Errorf("record: %s leg lost %v, want 0", leg.Side, value(leg.Receive.Lost))
		}
		if leg.Receive.JitterMS == nil || *leg.Receive.JitterMS < 0 || *leg.Receive.JitterMS > 50 {
			t.Errorf("record: %s leg has a jitter of %v ms", leg.Side, value(leg.Receive.JitterMS))
		}
	}
}

// value shows what a field of a record holds.
func value[T any](p *T) any {
	if p == nil {
		return "unknown"
	}
	return *p
}
