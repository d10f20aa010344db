package proxies

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"causeway/bench/ua"
	"causeway/test/rig"
)

// Names of two causeways, as each knows the other, and what the second adds to the addresses of the first.
const (
	nameA, nameB = "a.example.test", "b.example.test"
	second       = 10
)

// pair is two causeways back to back, gateway link to gateway link, and a user of the pool of each.
type pair struct {
	a, b       *causeway
	alice, bob *endpoint
	net        rig.Network
}

// linked is the configuration of one of two: its addresses, and the other as its gateway.
func linked(t *testing.T, net rig.Network, dns *rig.DNS, network, own, other string, first byte) configuration {
	t.Helper()
	at := func(host byte) string { return net.Addr(first + host).String() }
	c := standard(t, net)
	c.Name = "causeway-" + own[:1]
	c.Media = [2]string{at(poolSide), at(gatewaySide)}
	c.Pool.Listen = []string{fmt.Sprintf("tls://%s:5061", at(poolSide))}
	c.Pool.Peer = fmt.Sprintf("sip:%s:5061;transport=tls", at(alice))
	c.Gateway.Listen = []string{fmt.Sprintf("%s://%s:5060", network, at(gatewaySide))}
	c.Gateway.Peer = fmt.Sprintf("sip:%s:5060;transport=%s", other, network)
	c.More = append(c.More, fmt.Sprintf("resolver: %q", dns.Addr()))
	dns.Host(own, at(gatewaySide))
	if network == "tls" {
		files, err := issue(rig.Identity{CommonName: own, Names: []string{own}})
		if err != nil {
			t.Fatal(err)
		}
		c.Gateway.TLS = files
	}
	return c
}

// setPair runs them all. change, when given, has a word in what the two are told.
func setPair(t *testing.T, network string, change func(a, b *configuration)) *pair {
	t.Helper()
	net, dns := rig.NewNetwork(t), rig.NewDNS(t)
	ca := linked(t, net, dns, network, nameA, nameB, 0)
	cb := linked(t, net, dns, network, nameB, nameA, second)
	if change != nil {
		change(&ca, &cb)
	}
	return &pair{
		net: net, a: start(t, ca), b: start(t, cb),
		alice: userAt(t, net, alice, "alice", poolTone, nil),
		bob:   userAt(t, net, second+alice, "bob", otherTone, nil),
	}
}

// call has the user of one pool call the user of the other.
func (p *pair) call(t *testing.T, fromBob bool) (placed, taken *ua.Call) {
	t.Helper()
	if fromBob {
		placed = p.bob.place(t, p.target(second, poolNumber), ua.Options{From: gatewayNumber})
		return placed, p.alice.received(t, 5*time.Second)
	}
	placed = p.alice.place(t, p.target(0, gatewayNumber), ua.Options{From: poolNumber})
	return placed, p.bob.received(t, 5*time.Second)
}

// target is a number at the pool side of the first causeway or, behind second, of the other.
func (p *pair) target(first byte, number string) string {
	return fmt.Sprintf("sip:%s@%s:5061;transport=tls", number, p.net.Addr(first+poolSide))
}

// Users of two pools talk through two causeways: held and resumed from either end and by either direction, ended from
// either end. Nothing that one of them is shown names an address of the other's network, or of the link between them.
func TestTwoCauseways(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                       string
		network, srtp              string // of the link
		fromBob, calleeHolds, ends bool   // ends: the callee hangs up
		hold                       ua.Direction
	}{
		{"tls, encrypted link", "tls", "required", false, false, false, ua.SendOnly},
		{"tls, callee holds and hangs up", "tls", "rejected", true, true, true, ua.Inactive},
		{"tcp, callee holds", "tcp", "rejected", false, true, false, ua.SendOnly},
		{"tcp, back", "tcp", "rejected", true, false, true, ua.Inactive},
		{"udp, plain link", "udp", "rejected", false, false, true, ua.SendOnly},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := setPair(t, c.network, func(a, b *configuration) { a.Gateway.SRTP, b.Gateway.SRTP = c.srtp, c.srtp })
			beforeA, beforeB := p.a.holdings(), p.b.holdings()
			placed, taken := p.call(t, c.fromBob)
			hidden(t, p, taken.Invite(), c.fromBob)
			time.Sleep(time.Second)
			by, other := placed, taken
			if c.calleeHolds {
				by, other = taken, placed
			}
			holds(t, by, other, c.hold)
			time.Sleep(700 * time.Millisecond) // of tones
			hz, otherHz := poolTone, otherTone
			if c.fromBob {
				hz, otherHz = otherHz, hz
			}
			hearsLately(t, "the callee", taken, hz)
			hearsLately(t, "the caller", placed, otherHz)
			if c.ends {
				hangUp(t, taken, placed)
			} else {
				hangUp(t, placed, taken)
			}
			for name, call := range map[string]*ua.Call{"caller": placed, "callee": taken} {
				if st := call.Stats(); st.Lost != 0 || st.Rejected != 0 {
					t.Errorf("the %s lost %d packets and rejected %d", name, st.Lost, st.Rejected)
				}
			}
			for _, s := range []*causeway{p.a, p.b} {
				r := s.recorded(1)[0]
				outward := (s == p.a) != c.fromBob
				byPool := outward != c.ends
				if r.Code != 200 || r.EndedBy != map[bool]string{true: "pool", false: "gateway"}[byPool] ||
					r.Direction != map[bool]string{true: "pool_to_gateway", false: "gateway_to_pool"}[outward] {
					t.Errorf("record of %s: %s, %d ended by %s", s.Name, r.Direction, r.Code, r.EndedBy)
				}
			}
			p.a.settled(beforeA, 4, 20*time.Second)
			p.b.settled(beforeB, 4, 20*time.Second)
		})
	}
}

// holds has one end hold the other and resume: the direction arrives as it was offered, and audio goes by it.
func holds(t *testing.T, by, other *ua.Call, d ua.Direction) {
	t.Helper()
	if err := by.Reoffer(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if o := offered(t, other, 1); o.Direction != d {
		t.Errorf("%s was offered on as %s", d, o.Direction)
	}
	silent(t, by)
	if d == ua.SendOnly {
		flowing(t, other)
	} else {
		silent(t, other)
	}
	if err := by.Reoffer(t.Context(), ua.SendRecv); err != nil {
		t.Fatal(err)
	}
	if o := offered(t, other, 2); o.Direction != ua.SendRecv {
		t.Errorf("the end of a hold was offered on as %s", o.Direction)
	}
	flowing(t, by)
	flowing(t, other)
}

// hidden checks that an INVITE names no address but those of the network that it arrived in.
func hidden(t *testing.T, p *pair, invite *ua.Invite, atAlice bool) {
	t.Helper()
	text := invite.RequestURI + "\n" + invite.SDP
	for _, h := range invite.Headers {
		text += "\n" + h.Name + ": " + h.Value
	}
	first := byte(second)
	if atAlice {
		first = 0
	}
	own := map[string]bool{p.net.Addr(first + poolSide).String(): true, p.net.Addr(first + alice).String(): true}
	for _, address := range regexp.MustCompile(`\b127\.\d+\.\d+\.\d+\b`).FindAllString(text, -1) {
		if !own[address] {
			t.Errorf("the INVITE names %s, an address of the other side:\n%s", address, text)
		}
	}
	for _, name := range []string{nameA, nameB} {
		if strings.Contains(text, name) {
			t.Errorf("the INVITE names %s, of the link:\n%s", name, text)
		}
	}
}
