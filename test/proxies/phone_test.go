package proxies

import (
	"fmt"
	"testing"
	"time"

	"causeway/bench/tone"
	"causeway/bench/ua"
	"causeway/test/rig"
	"causeway/test/rig/baresip"
)

// phoneStage is a causeway between a baresip and an endpoint of the tests' own, either way round.
type phoneStage struct {
	*causeway
	phone *baresip.Phone
	peer  *endpoint // at the other end

	ofPool  bool // the phone
	proxy   *kamailio
	port    int  // of the phone's SIP
	listens bool // the phone takes all that is sent to it
}

// phoneAs says what the phone is.
type phoneAs struct {
	gateway    string // transport of a phone that is the gateway; "": it is a user of the pool, by TLS with SRTP
	proxied    bool   // behind Kamailio, which knows the phone as this host
	answer     string
	unchanging bool     // the other end refuses every re-INVITE
	reply      ua.Reply // how the other end answers
}

func setPhone(t *testing.T, as phoneAs) *phoneStage {
	t.Helper()
	net := rig.NewNetwork(t)
	s := &phoneStage{ofPool: as.gateway == "", port: rig.Ports(t, 2), listens: as.answer == "" && !as.unchanging}
	c := standard(t, net)
	c.PoolPeers = append(c.PoolPeers, "127.0.0.1")
	// The phone leaves from 127.0.0.1, so this is the address in everybody's certificate as well.
	files, err := issue(rig.Identity{CommonName: "phone", Addresses: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	config := baresip.Config{
		Name: "phone", User: poolNumber, IP: "127.0.0.1", SIP: s.port, Transport: "tls", Encrypt: "srtp-mand",
		Codecs: "PCMU,PCMA", Tone: poolTone, Answer: as.answer, TLS: files,
	}
	switch {
	case as.gateway != "":
		config.User, config.Transport, config.Encrypt, config.Tone = gatewayNumber, as.gateway, "", gatewayTone
		c.Gateway.Listen[0] = fmt.Sprintf("%s://%s:5060", as.gateway, net.Addr(gatewaySide))
		c.Gateway.Peer = fmt.Sprintf("sip:127.0.0.1:%d;transport=%s", s.port, as.gateway)
		c.Pool.Peer = fmt.Sprintf("sip:%s:5061;transport=tls", net.Addr(alice))
	case as.proxied:
		s.proxy = startProxy(t, proxyConfig{
			IP: net.Addr(proxy), TLS: everyone(t, net), Default: fmt.Sprintf("sip:%s:5061;transport=tls", net.Addr(poolSide)),
			Users: []user{{User: poolNumber, Hops: []hop{{loopback, s.port + 1, "tls"}}}},
		})
	default:
		c.Pool.Peer = fmt.Sprintf("sip:127.0.0.1:%d;transport=tls", s.port+1)
	}
	s.causeway = start(t, c)
	s.phone = baresip.Start(t, config)
	peer := ua.Config{Name: "peer", Unchanging: as.unchanging, Record: time.Minute}
	if s.ofPool {
		peer.Listen, peer.Audio = fmt.Sprintf("tcp://%s:5060", net.Addr(gateway)), sine(gatewayTone)
	} else {
		peer.Listen, peer.Audio = fmt.Sprintf("tls://%s:5061", net.Addr(alice)), sine(poolTone)
		peer.TLS, peer.SRTP = identity(t, everyone(t, net)), ua.AES80
	}
	s.peer = startEndpoint(t, peer, func(*ua.Call) ua.Reply { return as.reply })
	return s
}

// talk has one end call the other and returns the endpoint's end of the call.
func (s *phoneStage) talk(t *testing.T, phoneCalls bool) *ua.Call {
	t.Helper()
	var call *ua.Call
	switch {
	case phoneCalls:
		s.phone.Dial(s.target())
		call = s.peer.received(t, 10*time.Second)
	case s.ofPool:
		call = s.peer.place(t, fmt.Sprintf("sip:%s@%s:5060;transport=tcp", poolNumber, s.Net.Addr(gatewaySide)), ua.Options{From: gatewayNumber})
	default:
		call = s.peer.place(t, fmt.Sprintf("sip:%s@%s:5061;transport=tls", gatewayNumber, s.Net.Addr(poolSide)), ua.Options{From: poolNumber})
	}
	s.phone.Seen("CALL_ESTABLISHED", 10*time.Second)
	return call
}

// target is what the phone dials.
func (s *phoneStage) target() string {
	switch {
	case s.proxy != nil:
		return fmt.Sprintf("sip:%s@%s:5061;transport=tls", gatewayNumber, s.Net.Addr(proxy))
	case s.ofPool:
		return fmt.Sprintf("sip:%s@%s:5061;transport=tls", gatewayNumber, s.Net.Addr(poolSide))
	}
	listen := s.Gateway.Listen[0]
	return fmt.Sprintf("sip:%s@%s:5060;transport=%s", poolNumber, s.Net.Addr(gatewaySide), listen[:3])
}

// offered waits until the endpoint was offered so many changes and returns the last.
func offered(t *testing.T, c *ua.Call, n int) ua.Offer {
	t.Helper()
	var offers []ua.Offer
	rig.Eventually(t, 5*time.Second, "the other end is offered the change", func() string {
		if offers = c.Offers(); len(offers) >= n {
			return ""
		}
		return fmt.Sprintf("offered %+v", offers)
	})
	return offers[len(offers)-1]
}

// window is how long audio has to be there, or not, to say so.
const window = 400 * time.Millisecond

// during counts the packets that an endpoint receives in a window.
func during(c *ua.Call) uint64 {
	before := c.Stats().Received
	time.Sleep(window)
	return c.Stats().Received - before
}

// silent waits until an endpoint receives no audio any more.
func silent(t *testing.T, c *ua.Call) {
	t.Helper()
	rig.Eventually(t, 2*time.Second, "audio stops", func() string {
		if n := during(c); n > 0 {
			return fmt.Sprintf("%d packets in %v", n, window)
		}
		return ""
	})
}

// flowing waits until an endpoint receives audio, at half of its rate at least.
func flowing(t *testing.T, c *ua.Call) {
	t.Helper()
	rig.Eventually(t, 4*time.Second, "audio flows", func() string {
		if n := during(c); n < 10 {
			return fmt.Sprintf("%d packets in %v, want 20", n, window)
		}
		return ""
	})
}

// A baresip holds and resumes by re-INVITE (RFC 3264 8.4): what it wants reaches the other end, is answered there, and
// the audio stops and comes back both ways, whoever called and wherever the phone is. Behind a proxy the re-INVITEs take
// the route set. A second hold shows that the first resume left nothing behind.
func TestPhoneHoldsAndResumes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		as         phoneAs
		phoneCalls bool
	}{
		{"softphone, calling", phoneAs{}, true},
		{"softphone, called", phoneAs{}, false},
		{"softphone behind a proxy, called", phoneAs{proxied: true}, false},
		{"gateway by tcp, called", phoneAs{gateway: "tcp"}, false},
		{"gateway by udp, calling", phoneAs{gateway: "udp"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := setPhone(t, c.as)
			before := s.holdings()
			call := s.talk(t, c.phoneCalls)
			time.Sleep(time.Second)
			for i := range 2 {
				s.phone.Hold()
				if o := offered(t, call, 2*i+1); o.Direction != ua.SendOnly && o.Direction != ua.Inactive {
					t.Errorf("a hold was offered on as %s", o.Direction)
				}
				silent(t, call)
				s.phone.Resume()
				if o := offered(t, call, 2*i+2); o.Direction != ua.SendRecv {
					t.Errorf("the end of a hold was offered on as %s", o.Direction)
				}
				flowing(t, call)
			}
			s.finish(t, call, before, true)
		})
	}
}

// finish hangs up from the phone and looks at what both ends heard in the end; changed says that the phone was offered,
// or offered, a change of the call, from which on it records nothing.
func (s *phoneStage) finish(t *testing.T, call *ua.Call, before holdings, changed bool) {
	t.Helper()
	s.phone.Hangup()
	select {
	case <-call.Done():
		if end, _ := call.EndedBy(); end != ua.Remote || call.Err() != nil {
			t.Errorf("the call was ended by %s: %v", end, call.Err())
		}
	case <-time.After(5 * time.Second):
		t.Error("the call does not end")
	}
	own, other := poolTone, gatewayTone
	if !s.ofPool {
		own, other = other, own
	}
	hearsLately(t, "the endpoint", call, own)
	counts := s.phone.Counts(5 * time.Second)
	st := call.Stats()
	// Either end may miss what was under way when it opened its ears, or closed them, and baresip drops what comes late.
	// What a phone that holds is sent all the same, or one that rings, it does not count.
	deaf := counts.Received < int(st.Sent)*2/3 && s.listens
	if st.Lost != 0 || counts.Lost != 0 || counts.Refused != 0 || deaf || int(st.Received) < counts.Sent*2/3 {
		t.Errorf("the phone counted %+v; the other end sent %d and received %d, lost %d", counts, st.Sent, st.Received, st.Lost)
	}
	if !changed {
		phoneHears(t, s.phone, other)
	}
	by := map[bool]string{true: "pool", false: "gateway"}[s.ofPool]
	if r := s.recorded(1)[0]; r.Code != 200 || r.EndedBy != by {
		t.Errorf("record: %d ended by %s, want 200 by %s", r.Code, r.EndedBy, by)
	}
	s.settled(before, 3, 20*time.Second)
}

// phoneHears ends a phone and looks at the end of what it recorded. What it does not receive, it does not record.
func phoneHears(t *testing.T, p *baresip.Phone, hz float64) {
	t.Helper()
	pcm := p.Heard()
	if len(pcm) < tone.Samples(600*time.Millisecond) {
		t.Errorf("%s heard %v", p.Name, tone.Duration(len(pcm)))
		return
	}
	isTone(t, p.Name, pcm[len(pcm)-tone.Samples(500*time.Millisecond):], hz)
}

// The other end refuses every change with 488. The phone that holds is answered all the same, since its leg is ours to
// answer; the call goes on, and after the resume as before (RFC 3261 14.1).
func TestPhoneHoldsAgainstAGatewayThatKnowsNone(t *testing.T) {
	t.Parallel()
	s := setPhone(t, phoneAs{unchanging: true})
	before := s.holdings()
	call := s.talk(t, true)
	time.Sleep(500 * time.Millisecond)
	s.phone.Hold()
	time.Sleep(time.Second)
	s.phone.Resume()
	time.Sleep(500 * time.Millisecond)
	flowing(t, call)
	s.finish(t, call, before, true)
}

// An endpoint holds the phone, whose own audio stops, and resumes.
func TestPhoneIsHeld(t *testing.T) {
	t.Parallel()
	for _, as := range []phoneAs{{}, {gateway: "tcp"}} {
		for _, hold := range []ua.Direction{ua.SendOnly, ua.Inactive} {
			t.Run(fmt.Sprintf("gateway %q, %s", as.gateway, hold), func(t *testing.T) {
				t.Parallel()
				s := setPhone(t, as)
				before := s.holdings()
				call := s.talk(t, false)
				time.Sleep(500 * time.Millisecond)
				if err := call.Reoffer(t.Context(), hold); err != nil {
					t.Fatal(err)
				}
				silent(t, call)
				if err := call.Reoffer(t.Context(), ua.SendRecv); err != nil {
					t.Fatal(err)
				}
				flowing(t, call)
				time.Sleep(500 * time.Millisecond)
				s.finish(t, call, before, true)
			})
		}
	}
}

// The phone calls somebody who gives early media, and hears it before the answer.
func TestPhoneHearsEarlyMedia(t *testing.T) {
	t.Parallel()
	for _, as := range []phoneAs{{}, {gateway: "tcp"}} {
		t.Run(fmt.Sprintf("gateway %q", as.gateway), func(t *testing.T) {
			t.Parallel()
			as.reply = ua.Reply{EarlyMedia: true, Answer: 1500 * time.Millisecond}
			s := setPhone(t, as)
			before := s.holdings()
			call := s.talk(t, true)
			s.phone.Seen("CALL_PROGRESS", time.Second)
			time.Sleep(time.Second) // baresip drops some 80 ms when it is answered
			s.finish(t, call, before, false)
			if heard := tone.Duration(len(s.phone.Heard())); heard < 1800*time.Millisecond {
				t.Errorf("the phone heard %v of 1.5 s before and 1 s behind the answer", heard)
			}
		})
	}
}

// The phone is called and gives an answer in a 183, which arrives as one, long before it is picked up. baresip 1.0.0
// itself sends no audio until then.
func TestPhoneRingsWithAnAnswer(t *testing.T) {
	t.Parallel()
	for _, as := range []phoneAs{{answer: "early"}, {answer: "early", proxied: true}, {answer: "early", gateway: "udp"}} {
		t.Run(fmt.Sprintf("gateway %q, proxied %v", as.gateway, as.proxied), func(t *testing.T) {
			t.Parallel()
			s := setPhone(t, as)
			before := s.holdings()
			go func() {
				time.Sleep(1500 * time.Millisecond)
				s.phone.Accept()
			}()
			call := s.talk(t, false)
			early := call.Answered()
			for _, r := range call.Responses() {
				if r.Code == 183 && r.SDP != "" && r.At.Before(early) {
					early = r.At
				}
			}
			if ahead := call.Answered().Sub(early); ahead < time.Second {
				t.Errorf("an answer in a 183 came %v before the 200", ahead)
			}
			time.Sleep(1500 * time.Millisecond)
			s.finish(t, call, before, false)
		})
	}
}

// Keys pressed on the phone arrive as telephone events (RFC 4733), and those of the other end at the phone.
func TestPhonePressesKeys(t *testing.T) {
	t.Parallel()
	for _, as := range []phoneAs{{}, {gateway: "tcp"}} {
		t.Run(fmt.Sprintf("gateway %q", as.gateway), func(t *testing.T) {
			t.Parallel()
			s := setPhone(t, as)
			before := s.holdings()
			call := s.talk(t, true)
			time.Sleep(500 * time.Millisecond)
			s.phone.Press("42#")
			if err := call.SendDigits("19*"); err != nil {
				t.Error(err)
			}
			rig.Eventually(t, 5*time.Second, "the keys arrive", func() string {
				if got := call.Stats().Digits; got != "42#" {
					return fmt.Sprintf("arrived %q", got)
				}
				return ""
			})
			rig.Eventually(t, 5*time.Second, "keys arrive at the phone", func() string {
				got := s.phone.Digits()
				if got != "19*" {
					return fmt.Sprintf("arrived %q", got)
				}
				return ""
			})
			time.Sleep(time.Second)
			s.finish(t, call, before, false)
		})
	}
}
