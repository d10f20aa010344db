package signalling

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"causeway/test/rig"
)

// setting is what a test wants of its causeway. The zero value is UDP on both sides, without heartbeat.
type setting struct {
	pool, gateway      string   // udp (default) or tcp
	poolMore, gateMore []string // further lines of the side
	more               []string // further lines of mediation
	poolPeer, gatePeer string   // instead of the usual next_hop and peer
	heartbeat          bool     // the side's lines say so, or the default is wanted
	patient            bool     // the test waits for a long timer: it begins at once, whatever else runs
}

// The addresses of a lab, the last byte of each. Three digits each, so that none is the beginning of another.
const (
	poolUs, poolPeer, poolOther = 101, 102, 103
	gateUs, gatePeer, gateOther = 201, 202, 203
)

const (
	sipPort    = 5060
	mediaPorts = "61000-61199"

	poolSide, gatewaySide        = "pool", "gateway"
	poolToGateway, gatewayToPool = "pool to gateway", "gateway to pool"
)

// places bounds how many causeways are busy at a time, on two cores. Those that wait for a long timer are not busy.
var places = make(chan struct{}, 16)

// lab is one causeway between two sides on a network of its own.
type lab struct {
	*rig.Causeway
	t   testing.TB
	dir string
	net rig.Network
	setting
}

func newLab(t testing.TB, s setting) *lab {
	t.Helper()
	if !s.patient {
		places <- struct{}{}
		t.Cleanup(func() { <-places })
	}
	l := &lab{t: t, net: rig.NewNetwork(t), setting: s}
	if l.pool == "" {
		l.pool = "udp"
	}
	if l.gateway == "" {
		l.gateway = "udp"
	}
	if !s.heartbeat {
		off := "heartbeat: {interval: 0s}"
		l.poolMore, l.gateMore = append([]string{off}, l.poolMore...), append([]string{off}, l.gateMore...)
	}
	if l.poolPeer == "" {
		l.poolPeer = fmt.Sprintf("sip:%s;transport=%s", l.at(poolPeer), l.pool)
	}
	if l.gatePeer == "" {
		l.gatePeer = fmt.Sprintf("sip:%s;transport=%s", l.at(gatePeer), l.gateway)
	}
	return l
}

// start runs causeway. The peers should be there by then.
func (l *lab) start() *lab {
	l.t.Helper()
	l.dir = l.t.TempDir()
	admin := netip.AddrPortFrom(l.net.Addr(1), 8480).String()
	l.Causeway = rig.Serve(l.t, causeway, l.dir, l.configuration(admin), admin)
	return l
}

// configuration is what causeway is run with.
func (l *lab) configuration(admin string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "state_dir: %s/state\nadmin: {listen: %q}\nlog: {level: debug, format: json}\n", l.dir, admin)
	fmt.Fprintf(&b, "mediation:\n  ports: %s\n  media_timeout: 0s\n", mediaPorts) // nobody here sends any
	lines := func(indent string, all []string) {
		for _, line := range all {
			fmt.Fprintf(&b, "%s%s\n", indent, line)
		}
	}
	if !strings.Contains(strings.Join(l.more, "\n"), "max_calls") {
		b.WriteString("  max_calls: 90\n") // as many as there are ports
	}
	lines("  ", l.more)
	fmt.Fprintf(&b, "  pool:\n    listen: [%q]\n    media_address: %s\n    srtp: rejected\n    peers: [%s, %s]\n    next_hop: %q\n",
		l.pool+"://"+l.at(poolUs).String(), l.net.Addr(poolUs), l.net.Addr(poolPeer), l.net.Addr(poolOther), l.poolPeer)
	lines("    ", l.poolMore)
	fmt.Fprintf(&b, "  gateway:\n    listen: %s\n    media_address: %s\n    srtp: rejected\n    peer: %q\n",
		l.gateway+"://"+l.at(gateUs).String(), l.net.Addr(gateUs), l.gatePeer)
	lines("    ", l.gateMore)
	return b.String()
}

// recorded waits for n records of calls.
func (l *lab) recorded(n int) []rig.Record {
	l.t.Helper()
	return rig.Recorded(l.t, filepath.Join(l.dir, "state"), n, patience)
}

// at is an address of the lab with the port of SIP.
func (l *lab) at(host byte) netip.AddrPort { return netip.AddrPortFrom(l.net.Addr(host), sipPort) }

// agents are the two sides by hand.
func (l *lab) agents() (pool, gateway *agent) {
	l.t.Helper()
	pool = newAgent(l.t, poolSide, l.pool, l.at(poolPeer), l.at(poolUs))
	gateway = newAgent(l.t, gatewaySide, l.gateway, l.at(gatePeer), l.at(gateUs))
	l.t.Cleanup(func() {
		l.hidden(pool.side, pool.texts())
		l.hidden(gateway.side, gateway.texts())
	})
	return pool, gateway
}

// texts are all messages heard.
func (a *agent) texts() []string {
	var all []string
	for _, m := range a.everything() {
		all = append(all, m.raw)
	}
	return all
}

// hidden checks that nothing of the other side can be read in what a side was sent: the addresses of the other side's
// peers, causeway's own there, and its domain.
func (l *lab) hidden(side string, heard []string) {
	l.t.Helper()
	secret := map[string][]string{
		poolSide:    {l.net.Addr(gateUs).String(), l.net.Addr(gatePeer).String(), l.net.Addr(gateOther).String(), "gateway.example"},
		gatewaySide: {l.net.Addr(poolUs).String(), l.net.Addr(poolPeer).String(), l.net.Addr(poolOther).String(), "pool.example"},
	}[side]
	for _, text := range heard {
		for _, s := range secret {
			if strings.Contains(strings.ToLower(text), s) {
				l.t.Errorf("%s was told %s, which is on the other side:\n%s", side, s, text)
				break
			}
		}
	}
}

// parties is a lab with an agent on each side.
type parties struct {
	*lab
	caller, callee *agent
}

// both runs a test in both call directions, each with a causeway of its own.
func both(t *testing.T, s setting, test func(t *testing.T, p parties)) {
	t.Helper()
	for _, direction := range []string{poolToGateway, gatewayToPool} {
		t.Run(direction, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, s)
			pool, gateway := l.agents()
			l.start()
			p := parties{lab: l, caller: pool, callee: gateway}
			if direction == gatewayToPool {
				p.caller, p.callee = gateway, pool
			}
			test(t, p)
			if !t.Failed() {
				l.idle()
			}
		})
	}
}

// idle waits until no call is left.
func (l *lab) idle() {
	l.t.Helper()
	if !l.Running() {
		return
	}
	rig.Eventually(l.t, patience, "the calls are over", func() string {
		if n := l.Sum("causeway_mediation_calls"); n != 0 {
			return fmt.Sprintf("%v are left", n)
		}
		return ""
	})
}

// number is whom the tests call unless they call several.
const number = "+14255550123"

// ringing is a call up to the callee's 180.
func (p parties) ringing(headers ...string) (a, b *call) {
	p.t.Helper()
	a = p.caller.dial(number)
	a.sendInvite(a.sdp.String(), headers...)
	b = p.callee.incoming(number)
	b.ring()
	a.expect("180 INVITE")
	return a, b
}

// talking is a call up to the ACK on both sides.
func (p parties) talking(headers ...string) (a, b *call) {
	p.t.Helper()
	a = p.caller.dial(number)
	a.sendInvite(a.sdp.String(), headers...)
	b = p.callee.incoming(number)
	b.answer(headers...)
	a.answered()
	return a, b
}

// hangUp ends a call from the first leg given.
func (p parties) hangUp(first, second *call) {
	p.t.Helper()
	first.send(first.request("BYE", ""))
	first.expect("200 BYE")
	second.byes()
}

// otherOf is a second address of a leg's side.
func (l *lab) otherOf(c *call) netip.Addr {
	if c.a.side == poolSide {
		return l.net.Addr(poolOther)
	}
	return l.net.Addr(gateOther)
}

// withPort is the same address with another port.
func withPort(a netip.AddrPort, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), port)
}

// stop ends causeway before the test does, as an operator would.
func (l *lab) stop(t testing.TB) {
	t.Helper()
	if err := l.Quit(); err != nil {
		t.Errorf("causeway on SIGTERM: %v", err)
	}
}
