package media

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"causeway/bench/tone"
	"causeway/bench/ua"
	"causeway/test/rig"
)

// Who is where in the network of a test: the last byte of the address. Attackers begin at attackers.
const (
	poolUs, gateUs       = 1, 2
	poolPhone, gatePhone = 3, 4
	attackers            = 20
)

// The ports of everybody, on addresses of their own.
const (
	sipPort   = 15060
	adminPort = 15080
	firstPort = 16000 // of causeway's media, up to lastPort
	lastPort  = 16039
)

const (
	pool, gateway = "pool", "gateway"

	patience = 20 * time.Second
)

// Tones that are not multiples of each other. The attackers' is louder than the calls'.
const (
	poolTone     = 440.0  // Hz
	gatewayTone  = 620.0  // Hz
	injectedTone = 2050.0 // Hz
	toneLevel    = -15.0  // dBFS
)

// setting is what a test wants of its causeway and of its telephones. The zero value is SRTP at the pool, plain RTP at the
// gateway, and the defaults.
type setting struct {
	plain              bool // without the race detector, for floods
	poolMore, gateMore []string
	more               []string
	poolSRTP           string // policy
	noPhones           bool   // the test plays both sides by hand
	poolMedia          ua.NewProtection
	reply              ua.Reply // of the telephone that is called
}

// lab is one causeway between two telephones.
type lab struct {
	*rig.Causeway
	t             *testing.T
	net           rig.Network
	pool, gateway *phone
}

func newLab(t *testing.T, s setting) *lab {
	t.Helper()
	l := &lab{t: t, net: rig.NewNetwork(t)}
	if s.poolSRTP == "" {
		s.poolSRTP = "required"
	}
	if !s.noPhones {
		l.pool = startPhone(t, s.reply, ua.Config{
			Name: pool, Listen: "udp://" + l.at(poolPhone, sipPort).String(), MediaPorts: [2]uint16{17000, 17099},
			SRTP: ua.AES80, Protection: s.poolMedia, Codecs: []string{ua.PCMU}, ReportEvery: time.Second, Record: time.Minute,
			Audio: func() tone.Source { return tone.Sine(poolTone, toneLevel) },
		})
		l.gateway = startPhone(t, s.reply, ua.Config{
			Name: gateway, Listen: "udp://" + l.at(gatePhone, sipPort).String(), MediaPorts: [2]uint16{17000, 17099},
			Codecs: []string{ua.PCMU}, ReportEvery: time.Second, Record: time.Minute,
			Audio: func() tone.Source { return tone.Sine(gatewayTone, toneLevel) },
		})
	}
	binary := binaries.Checked
	if s.plain {
		binary = binaries.Plain
	}
	admin := l.at(poolUs, adminPort).String()
	dir := t.TempDir()
	l.Causeway = rig.Serve(t, binary, dir, l.configuration(dir, admin, s), admin)
	return l
}

func (l *lab) configuration(dir, admin string, s setting) string {
	var b strings.Builder
	fmt.Fprintf(&b, "state_dir: %s/state\nadmin: {listen: %q}\nlog: {level: info, format: json}\n", dir, admin)
	fmt.Fprintf(&b, "mediation:\n  ports: %d-%d\n  max_calls: 10\n", firstPort, lastPort)
	lines := func(indent string, all []string) {
		for _, line := range all {
			fmt.Fprintf(&b, "%s%s\n", indent, line)
		}
	}
	lines("  ", s.more)
	fmt.Fprintf(&b, "  pool:\n    listen: [\"udp://%s\"]\n    media_address: %s\n    srtp: %s\n    peers: [%s]\n    next_hop: \"sip:%s;transport=udp\"\n    heartbeat: {interval: 0s}\n",
		l.at(poolUs, sipPort), l.net.Addr(poolUs), s.poolSRTP, l.net.Addr(poolPhone), l.at(poolPhone, sipPort))
	lines("    ", s.poolMore)
	fmt.Fprintf(&b, "  gateway:\n    listen: \"udp://%s\"\n    media_address: %s\n    srtp: rejected\n    peer: \"sip:%s;transport=udp\"\n    heartbeat: {interval: 0s}\n",
		l.at(gateUs, sipPort), l.net.Addr(gateUs), l.at(gatePhone, sipPort))
	lines("    ", s.gateMore)
	return b.String()
}

// at is an address of the lab.
func (l *lab) at(host byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(l.net.Addr(host), port)
}

// drops are the packets that causeway refused so far, by "side reason". Reasons that never came are not there.
func (l *lab) drops() map[string]int {
	l.t.Helper()
	const name = "causeway_mediation_media_dropped_packets_total{"
	all := map[string]int{}
	for series, v := range l.Metrics() {
		if rest, ok := strings.CutPrefix(series, name); ok && v > 0 {
			var reason, side string
			for label := range strings.SplitSeq(strings.TrimSuffix(rest, "}"), ",") {
				key, value, _ := strings.Cut(label, "=")
				switch value = strings.Trim(value, `"`); key {
				case "reason":
					reason = value
				case "side":
					side = value
				}
			}
			all[side+" "+reason] = int(v)
		}
	}
	return all
}

// refused waits until causeway has counted exactly so many packets under each name, and none under any other but those of
// the telephone that was called, which may talk before its answer is read.
func (l *lab) refused(want map[string]int) {
	l.t.Helper()
	var got map[string]int
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if got = l.attacks(); maps.Equal(got, want) {
			return
		}
		if time.Now().After(end) {
			l.t.Errorf("causeway refused %v, want %v", got, want)
			return
		}
	}
}

// refusedAsForged waits until causeway has refused n packets of a side for their tag or their number, and nothing else. A
// forged packet that comes after the true one of its number looks like that one replayed.
func (l *lab) refusedAsForged(side string, n int) {
	l.t.Helper()
	rig.Eventually(l.t, 5*time.Second, "causeway refuses what was forged", func() string {
		got := l.attacks()
		known := got[side+" authentication"] + got[side+" replay"]
		delete(got, side+" authentication")
		delete(got, side+" replay")
		if known != n || len(got) > 0 {
			return fmt.Sprintf("%d of %d, and %v", known, n, got)
		}
		return ""
	})
}

// attacks are the drops without those of a telephone that talked before its answer was read.
func (l *lab) attacks() map[string]int {
	l.t.Helper()
	got := l.drops()
	for _, side := range []string{pool, gateway} {
		delete(got, side+" leg_not_set")
	}
	return got
}

// rss is causeway's memory in bytes.
func (l *lab) rss() float64 {
	l.t.Helper()
	return l.Metric("causeway_process_resident_memory_bytes")
}

// phone is an honest telephone.
type phone struct {
	*ua.UA
	incoming chan *ua.Call
}

func startPhone(t *testing.T, reply ua.Reply, c ua.Config) *phone {
	t.Helper()
	p := &phone{incoming: make(chan *ua.Call, 4)}
	c.OnInvite = func(call *ua.Call) ua.Reply {
		p.incoming <- call
		return reply
	}
	var err error
	if p.UA, err = ua.New(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Errorf("telephone %s: %v", c.Name, err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return p
}

// conversation is a call between the two telephones.
type conversation struct {
	l             *lab
	pool, gateway *ua.Call
	placed        *ua.Call // one of them
	poolSDP       string   // what causeway told each
	gatewaySDP    string
}

// talk has the telephone of one side call the other, and returns when they talk.
func (l *lab) talk(from string) *conversation {
	l.t.Helper()
	c := &conversation{l: l}
	caller, callee, us := l.pool, l.gateway, l.at(poolUs, sipPort)
	if from == gateway {
		caller, callee, us = l.gateway, l.pool, l.at(gateUs, sipPort)
	}
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	var err error
	if c.placed, err = caller.Call(ctx, fmt.Sprintf("sip:+14255550123@%s;transport=udp", us), ua.Options{From: "+14255550100"}); err != nil {
		l.t.Fatal(err)
	}
	taken := <-callee.incoming
	c.pool, c.gateway = c.placed, taken
	if from == gateway {
		c.pool, c.gateway = taken, c.placed
	}
	c.poolSDP, c.gatewaySDP = toldBy(c.pool), toldBy(c.gateway)
	return c
}

// toldBy is the description that a telephone was given by causeway: the offer, or the last answer.
func toldBy(c *ua.Call) string {
	if all := c.Responses(); len(all) > 0 {
		return all[len(all)-1].SDP
	}
	return c.Invite().SDP
}

// us is where causeway takes the media of a side.
func (c *conversation) us(side string) netip.AddrPort {
	if side == pool {
		return mediaOf(c.l.t, c.poolSDP)
	}
	return mediaOf(c.l.t, c.gatewaySDP)
}

// them is where the telephone of a side takes its media.
func (c *conversation) them(side string) netip.AddrPort {
	call := c.pool
	if side == gateway {
		call = c.gateway
	}
	return netip.MustParseAddrPort(call.Stats().Local)
}

// mediaOf is where a description wants its audio.
func mediaOf(t testing.TB, body string) netip.AddrPort {
	t.Helper()
	var addr, port string
	for line := range strings.Lines(body) {
		switch f := strings.Fields(line); {
		case len(f) == 3 && f[0] == "c=IN":
			addr = f[2]
		case len(f) > 3 && f[0] == "m=audio":
			port = f[1]
		}
	}
	at, err := netip.ParseAddrPort(addr + ":" + port)
	if err != nil {
		t.Fatalf("no media address in\n%s", body)
	}
	return at
}

// next is the port after one: that of RTCP.
func next(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), a.Port()+1) }

// hangUp ends the call and waits for both ends.
func (c *conversation) hangUp() {
	c.l.t.Helper()
	ctx, cancel := context.WithTimeout(c.l.t.Context(), patience)
	defer cancel()
	if err := c.placed.Hangup(ctx); err != nil {
		c.l.t.Errorf("hang up: %v", err)
	}
	for _, end := range []*ua.Call{c.pool, c.gateway} {
		select {
		case <-end.Done():
		case <-ctx.Done():
			c.l.t.Fatal("a call does not end")
		}
	}
}

// unharmed lets the call go on for a while after the attack, ends it, and holds that both ends heard the other's tone, all
// of it, once, and nothing else.
func (c *conversation) unharmed() {
	c.l.t.Helper()
	time.Sleep(max(800*time.Millisecond, time.Until(c.placed.Answered().Add(2*time.Second))))
	for _, end := range []*ua.Call{c.pool, c.gateway} {
		select {
		case <-end.Done():
			by, reason := end.EndedBy()
			c.l.t.Fatalf("the call was ended by the attack: %s, %q, %v", by, reason, end.Err())
		default:
		}
	}
	c.hangUp()
	heardOnly(c.l.t, pool, c.pool, gatewayTone)
	heardOnly(c.l.t, gateway, c.gateway, poolTone)
}

// heardOnly looks at all that one end of a call heard.
func heardOnly(t *testing.T, name string, c *ua.Call, hz float64) {
	t.Helper()
	st := c.Stats()
	if st.Lost != 0 || st.Rejected != 0 || st.Duplicates != 0 || st.Strays != 0 || st.Unexpected != 0 || st.SSRCs != 1 || st.Digits != "" {
		t.Errorf("%s received %d packets of %d streams: %d lost, %d rejected, %d twice, %d from elsewhere, %d of another payload type, digits %q",
			name, st.Received, st.SSRCs, st.Lost, st.Rejected, st.Duplicates, st.Strays, st.Unexpected, st.Digits)
	}
	pcm := c.Recording()
	if len(pcm) < tone.Samples(1500*time.Millisecond) {
		t.Errorf("%s heard %v", name, tone.Duration(len(pcm)))
		return
	}
	pcm = pcm[tone.Samples(100*time.Millisecond):]
	for piece := range slices.Chunk(pcm, tone.Samples(200*time.Millisecond)) {
		if len(piece) < tone.Samples(200*time.Millisecond) {
			break
		}
		if got := tone.ToneLevel(piece, hz); got < toneLevel-1 || got > toneLevel+1 {
			t.Errorf("%s heard %g Hz at %.1f dBFS, want %.1f", name, hz, got, toneLevel)
			break
		}
		if got := tone.ToneLevel(piece, injectedTone); got > -45 {
			t.Errorf("%s heard the attacker's %g Hz at %.1f dBFS", name, injectedTone, got)
			break
		}
	}
	if gaps := tone.Gaps(pcm, -40, 15*time.Millisecond); len(gaps) > 0 {
		t.Errorf("%s heard gaps: %v", name, gaps)
	}
}
