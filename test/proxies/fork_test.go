package proxies

import (
	"fmt"
	"testing"
	"time"

	"causeway/bench/ua"
	"causeway/test/rig"
)

// forked is a stage whose proxy sends calls for the user to two phones at once.
type forked struct {
	*causeway
	proxy               *kamailio
	alice, bob, gateway *endpoint
}

// setForked runs them all. deaf keeps the proxy's CANCEL from bob.
func setForked(t *testing.T, deaf bool, byAlice, byBob ua.Reply) *forked {
	t.Helper()
	needKamailio(t)
	net := rig.NewNetwork(t)
	toBob := hop{net.Addr(bob), 5061, "tls"}
	second := toBob
	if deaf {
		second = throughDeaf(net)
	}
	f := &forked{
		proxy: startProxy(t, proxyConfig{
			IP: net.Addr(proxy), TLS: everyone(t, net), Default: "sip:127.0.0.1:9",
			Users: []user{{User: poolNumber, Hops: []hop{{net.Addr(alice), 5061, "tls"}, second}}}, Deaf: toBob,
		}),
		causeway: start(t, standard(t, net)),
		gateway:  gatewayAt(t, net, nil),
	}
	f.alice = userAt(t, net, alice, "alice", poolTone, func(*ua.Call) ua.Reply { return byAlice })
	f.bob = userAt(t, net, bob, "bob", otherTone, func(*ua.Call) ua.Reply { return byBob })
	return f
}

// ring places the call from the gateway and returns the three ends once the call is answered.
func (f *forked) ring(t *testing.T) (placed, atAlice, atBob *ua.Call) {
	t.Helper()
	placed = f.gateway.place(t, fmt.Sprintf("sip:%s@%s:5060;transport=tcp", poolNumber, f.Net.Addr(gatewaySide)), ua.Options{From: gatewayNumber})
	return placed, f.alice.received(t, 5*time.Second), f.bob.received(t, 5*time.Second)
}

// never is longer than any of these tests.
const never = time.Minute

// Several phones ring. The first to answer has the call, and the proxy cancels the others (RFC 3261 16.7 step 10). What
// is heard before the answer comes from the phone that gave early media last; what is heard after it, from the one that
// answered, whose key and address are its own (RFC 3261 13.2.2.4, RFC 3960 3.2).
func TestForkedCalls(t *testing.T) {
	t.Parallel()
	const early, later, answer = 200 * time.Millisecond, 700 * time.Millisecond, 1700 * time.Millisecond
	for _, c := range []struct {
		name           string
		byAlice, byBob ua.Reply
		early          float64 // what is heard before the answer; 0: nothing
		byBobIsWon     bool
	}{
		{"one answers", ua.Reply{Answer: 400 * time.Millisecond}, ua.Reply{Answer: never}, 0, false},
		{"the other answers", ua.Reply{Answer: never}, ua.Reply{Answer: 400 * time.Millisecond}, 0, true},
		{"early media from both, the later one answers",
			ua.Reply{Ring: early, EarlyMedia: true, Answer: never}, ua.Reply{Ring: later, EarlyMedia: true, Answer: answer}, otherTone, true},
		{"early media from both, the earlier one answers",
			ua.Reply{Ring: early, EarlyMedia: true, Answer: answer}, ua.Reply{Ring: later, EarlyMedia: true, Answer: never}, otherTone, false},
		{"early media from one, the other answers",
			ua.Reply{Ring: early, EarlyMedia: true, Answer: never}, ua.Reply{Ring: later, Answer: answer}, poolTone, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := setForked(t, false, c.byAlice, c.byBob)
			before := f.holdings()
			placed, winner, loser := f.ring(t)
			hz := poolTone
			if c.byBobIsWon {
				winner, loser, hz = loser, winner, otherTone
			}
			if c.early != 0 {
				hearsLately(t, "the caller before the answer", placed, c.early)
			}
			select {
			case <-loser.Done():
				if end, _ := loser.EndedBy(); end != ua.Remote || !loser.Answered().IsZero() {
					t.Errorf("the phone that lost was ended by %q and answered %v", end, loser.Answered())
				}
			case <-time.After(5 * time.Second):
				t.Error("the phone that lost still rings")
			}
			time.Sleep(1200 * time.Millisecond) // of tones
			hangUp(t, placed, winner)
			hears(t, "the caller", placed, hz)
			// It may have lost what went to the other phone while that one was the last to give early media.
			hearsLately(t, "the callee", winner, gatewayTone)
			if r := f.recorded(1)[0]; r.Code != 200 || r.EndedBy != "gateway" {
				t.Errorf("record: %d ended by %s", r.Code, r.EndedBy)
			}
			f.settled(before, 2, 20*time.Second)
		})
	}
}

// The CANCEL of the proxy does not reach the second phone, so that two phones answer, and the proxy passes both on
// (RFC 3261 16.7 step 5). The first has the call; the second 2xx is acknowledged and its dialog ended at once by BYE
// (RFC 3261 13.2.2.4), through the same proxy.
func TestTwoAnswers(t *testing.T) {
	t.Parallel()
	f := setForked(t, true, ua.Reply{Answer: 300 * time.Millisecond}, ua.Reply{Answer: 700 * time.Millisecond})
	before := f.holdings()
	placed, winner, loser := f.ring(t)
	select {
	case <-loser.Done():
		end, _ := loser.EndedBy()
		if end != ua.Remote || loser.Err() != nil || loser.Answered().IsZero() {
			t.Errorf("the second phone was ended by %q, answered %v: %v", end, loser.Answered(), loser.Err())
		}
	case <-time.After(5 * time.Second):
		t.Error("the second phone that answered still has a call")
	}
	time.Sleep(time.Second) // of tones
	hangUp(t, placed, winner)
	hears(t, "the caller", placed, poolTone)
	hears(t, "the callee", winner, gatewayTone)
	acks, byes := 0, 0
	for _, m := range f.proxy.seen(f.Net.Addr(poolSide)) {
		switch {
		case m.Reply:
		case m.What == "ACK":
			acks++
		case m.What == "BYE":
			byes++
		}
	}
	if acks != 2 || byes != 2 {
		t.Errorf("causeway sent %d ACK and %d BYE, want 2 of each: %+v", acks, byes, f.proxy.seen(f.Net.Addr(poolSide)))
	}
	oneConnection(t, f.proxy, f.Net.Addr(poolSide))
	f.settled(before, 2, 45*time.Second)
}
