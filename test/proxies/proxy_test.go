package proxies

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"causeway/bench/ua"
	"causeway/test/rig"
)

// Numbers that the tests call: a user of the pool, and somebody in the telephone network.
const (
	poolNumber    = "+14255550100"
	gatewayNumber = "+14255550123"
)

// proxyName is the proxy's where it has one.
const proxyName = "proxy.example.test"

// stage is a causeway behind a proxy of the pool, a user of the pool, and a gateway.
type stage struct {
	*causeway
	proxy          *kamailio
	alice, gateway *endpoint
}

// userAt is an endpoint of the pool, by TLS and SRTP.
func userAt(t *testing.T, net rig.Network, host byte, name string, hz float64, reply func(*ua.Call) ua.Reply) *endpoint {
	t.Helper()
	return startEndpoint(t, ua.Config{
		Name: name, Listen: fmt.Sprintf("tls://%s:5061", net.Addr(host)), TLS: identity(t, everyone(t, net)),
		SRTP: ua.AES80, Audio: sine(hz),
	}, reply)
}

// gatewayAt is the gateway, by TCP and plain RTP.
func gatewayAt(t *testing.T, net rig.Network, reply func(*ua.Call) ua.Reply) *endpoint {
	t.Helper()
	return startEndpoint(t, ua.Config{
		Name: "gateway", Listen: fmt.Sprintf("tcp://%s:5060", net.Addr(gateway)), Audio: sine(gatewayTone),
	}, reply)
}

// setStage runs them all. change, when given, has a word in what causeway and the proxy are told.
func setStage(t *testing.T, change func(*configuration, *proxyConfig)) *stage {
	t.Helper()
	needKamailio(t)
	net := rig.NewNetwork(t)
	c := standard(t, net)
	p := proxyConfig{
		IP: net.Addr(proxy), TLS: everyone(t, net),
		Default: fmt.Sprintf("sip:%s:5061;transport=tls", net.Addr(poolSide)),
		Users:   []user{{User: poolNumber, Hops: []hop{{net.Addr(alice), 5061, "tls"}}}},
	}
	if change != nil {
		change(&c, &p)
	}
	return &stage{
		proxy: startProxy(t, p), causeway: start(t, c),
		alice: userAt(t, net, alice, "alice", poolTone, nil), gateway: gatewayAt(t, net, nil),
	}
}

// call places a call in one direction and returns its two ends.
func (s *stage) call(t *testing.T, fromGateway bool) (placed, taken *ua.Call) {
	t.Helper()
	if fromGateway {
		placed = s.gateway.place(t, fmt.Sprintf("sip:%s@%s:5060;transport=tcp", poolNumber, s.Net.Addr(gatewaySide)), ua.Options{From: gatewayNumber})
		return placed, s.alice.received(t, 5*time.Second)
	}
	placed = s.alice.place(t, fmt.Sprintf("sip:%s@%s:5061;transport=tls", gatewayNumber, s.Net.Addr(proxy)), ua.Options{From: poolNumber})
	return placed, s.gateway.received(t, 5*time.Second)
}

// A user of the pool behind Kamailio, which records its route, talks to the gateway. What follows the INVITE takes the
// way back through the proxy (RFC 3261 12.2.1.1, 16.6 step 4), on the one connection that the dialog came on, whichever
// end opened it and whichever hangs up.
func TestCallsThroughAProxy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                       string
		fromGateway, calleeHangsUp bool
	}{
		{"to the gateway, caller hangs up", false, false},
		{"to the gateway, callee hangs up", false, true},
		{"from the gateway, caller hangs up", true, false},
		{"from the gateway, callee hangs up", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := setStage(t, nil)
			before := s.holdings()
			placed, taken := s.call(t, c.fromGateway)
			atPool, atGateway := placed, taken
			if c.fromGateway {
				atPool, atGateway = taken, placed
			}
			time.Sleep(1500 * time.Millisecond) // of tones
			if c.calleeHangsUp {
				hangUp(t, taken, placed)
			} else {
				hangUp(t, placed, taken)
			}
			hears(t, "the user", atPool, gatewayTone)
			hears(t, "the gateway", atGateway, poolTone)

			us := s.Net.Addr(poolSide)
			ours := c.fromGateway != c.calleeHangsUp // the gateway's end hung up, so the BYE toward the pool is ours
			if s.proxy.saw(us, "BYE") != ours {
				t.Errorf("the proxy saw %+v from causeway; BYE from it is %v", s.proxy.seen(us), ours)
			}
			if c.fromGateway && !s.proxy.saw(us, "ACK") {
				t.Errorf("the ACK did not take the route: %+v", s.proxy.seen(us))
			}
			oneConnection(t, s.proxy, us)
			endedBy := map[bool]string{true: "gateway", false: "pool"}[ours]
			if r := s.recorded(1)[0]; r.Code != 200 || r.EndedBy != endedBy {
				t.Errorf("record: %d ended by %s, want 200 by %s", r.Code, r.EndedBy, endedBy)
			}
			s.settled(before, 3, 20*time.Second)
		})
	}
}

// oneConnection checks that what causeway sent to the proxy came on one connection, whoever opened it. Requests of the
// proxy are answered where they came: it opens a connection to our Contact for them when ours was from another port.
func oneConnection(t *testing.T, k *kamailio, us netip.Addr) {
	t.Helper()
	used := map[string]bool{}
	for _, m := range k.seen(us) {
		if !m.Reply || strings.HasSuffix(m.What, " INVITE") {
			used[m.Connection] = true
		}
	}
	if len(used) != 1 {
		t.Errorf("causeway used %d connections to the proxy, want 1: %+v", len(used), k.seen(us))
	}
}

// The proxy goes away in the middle of a call, and its connections with it. When somebody hangs up, the BYE gets through
// all the same: a new connection to the first of the route set (RFC 3261 12.2.1.1, 18.4).
func TestProxyRestarts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                   string
		fromGateway, byGateway bool
	}{
		{"called by the gateway, which hangs up", true, true},
		{"called by the gateway, the user hangs up", true, false},
		{"calls the gateway, which hangs up", false, true},
		{"calls the gateway, hangs up", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := setStage(t, nil)
			before := s.holdings()
			placed, taken := s.call(t, c.fromGateway)
			atPool, atGateway := placed, taken
			if c.fromGateway {
				atPool, atGateway = taken, placed
			}
			time.Sleep(500 * time.Millisecond)
			s.proxy.restart()
			time.Sleep(800 * time.Millisecond) // of tones: media does not depend on the proxy
			if c.byGateway {
				hangUp(t, atGateway, atPool)
			} else {
				hangUp(t, atPool, atGateway)
			}
			hears(t, "the user", atPool, gatewayTone)
			hears(t, "the gateway", atGateway, poolTone)
			if byUs := s.proxy.saw(s.Net.Addr(poolSide), "BYE"); byUs != c.byGateway {
				t.Errorf("the new proxy saw a BYE from causeway: %v, want %v", byUs, c.byGateway)
			}
			if r := s.recorded(1)[0]; r.Code != 200 || r.EndedBy != map[bool]string{true: "gateway", false: "pool"}[c.byGateway] {
				t.Errorf("record: %d ended by %s", r.Code, r.EndedBy)
			}
			s.settled(before, 3, 20*time.Second)
		})
	}
}

// The proxy is a name, to us and in the route that it records, as SIP over TLS asks for. What follows the INVITE goes to
// where the name is, on the connection that is open, and by a new one after that has gone (RFC 3263 4, RFC 5923 7). A
// certificate has to carry the name then.
func TestRouteByName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		fromGateway bool
		restart     bool
		otherwise   bool // after the restart it is somebody else, who shall not get the BYE
		notNext     bool // the proxy is one of pool.peers; calls from the gateway go elsewhere
	}{
		{name: "called by the gateway", fromGateway: true},
		{name: "calls the gateway"},
		{name: "called by the gateway, the proxy restarts", fromGateway: true, restart: true},
		{name: "calls the gateway, the proxy restarts", restart: true},
		{name: "calls the gateway, the proxy restarts as somebody else", restart: true, otherwise: true},
		{name: "calls the gateway, the proxy is not the next hop", notNext: true},
		{name: "calls the gateway, the proxy is not the next hop and restarts", notNext: true, restart: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dns := rig.NewDNS(t)
			s := setStage(t, func(config *configuration, p *proxyConfig) {
				p.TLS, p.RouteAs = named(t, proxyName, config.Net.Addr(proxy).String()), proxyName
				dns.Host(proxyName, p.IP.String())
				config.More = append(config.More, fmt.Sprintf("resolver: %q", dns.Addr()))
				config.Pool.Peer = fmt.Sprintf("sip:%s:5061;transport=tls", proxyName)
				config.PoolPeers = []string{proxyName}
				if c.notNext {
					config.Pool.Peer = fmt.Sprintf("sip:%s:5061;transport=tls", config.Net.Addr(bob))
				}
			})
			// The user resolves nothing: it goes by the connection that it has, or by this address.
			s.alice.stop()
			s.alice = startEndpoint(t, ua.Config{
				Name: "alice", Listen: fmt.Sprintf("tls://%s:5061", s.Net.Addr(alice)), TLS: identity(t, everyone(t, s.Net)),
				SRTP: ua.AES80, Audio: sine(poolTone), ReuseConnection: true,
			}, nil)
			var placed, taken *ua.Call
			if c.fromGateway {
				placed, taken = s.call(t, true)
			} else {
				placed = s.alice.place(t, fmt.Sprintf("sip:%s@%s:5061;transport=tls", gatewayNumber, s.Net.Addr(proxy)),
					ua.Options{From: poolNumber, Destination: fmt.Sprintf("%s:5061", s.Net.Addr(proxy))})
				taken = s.gateway.received(t, 5*time.Second)
			}
			if routes := routesOf(placed, taken); len(routes) != 1 || !strings.Contains(routes[0], proxyName) {
				t.Errorf("the recorded routes are %q", routes)
			}
			time.Sleep(300 * time.Millisecond)
			if c.otherwise {
				s.proxy.config.TLS = named(t, "other.example.test", s.Net.Addr(proxy).String())
			}
			if c.restart {
				s.proxy.restart()
			}
			atPool, atGateway := placed, taken
			if c.fromGateway {
				atPool, atGateway = taken, placed
			}
			us := s.Net.Addr(poolSide)
			if c.otherwise {
				s.endsAlone(t, atGateway)
				return
			}
			hangUp(t, atGateway, atPool)
			if !s.proxy.saw(us, "BYE") {
				t.Errorf("the BYE did not take the route: %+v", s.proxy.seen(us))
			}
			if !c.restart {
				oneConnection(t, s.proxy, us)
			}
		})
	}
}

// The proxy is allowed by its address, and records that; calls from the gateway go to somebody with a name. The name is
// not what the proxy's certificate has to carry when the connection has to be made anew.
func TestRouteOfAPeerByAddress(t *testing.T) {
	t.Parallel()
	dns := rig.NewDNS(t)
	s := setStage(t, func(config *configuration, p *proxyConfig) {
		p.TLS = named(t, proxyName, config.Net.Addr(proxy).String())
		dns.Host("next.example.test", config.Net.Addr(bob).String())
		config.More = append(config.More, fmt.Sprintf("resolver: %q", dns.Addr()))
		config.Pool.Peer = "sip:next.example.test:5061;transport=tls"
		config.PoolPeers = []string{config.Net.Addr(proxy).String()}
	})
	placed, taken := s.call(t, false)
	time.Sleep(300 * time.Millisecond)
	s.proxy.restart()
	hangUp(t, taken, placed)
	if us := s.Net.Addr(poolSide); !s.proxy.saw(us, "BYE") {
		t.Errorf("the BYE did not take the route: %+v", s.proxy.seen(us))
	}
}

// named is a certificate for a name and an address.
func named(t *testing.T, name, address string) rig.PKI {
	t.Helper()
	files, err := issue(rig.Identity{CommonName: name, Names: []string{name}, Addresses: []string{address}})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// endsAlone hangs up at the gateway when the proxy is not the one that it was: the call is over, and nobody else is told.
func (s *stage) endsAlone(t *testing.T, atGateway *ua.Call) {
	t.Helper()
	if err := atGateway.Hangup(t.Context()); err != nil {
		t.Errorf("hang up: %v", err)
	}
	rig.Eventually(t, 5*time.Second, "the certificate is refused", func() string {
		if s.dropped("pool", "certificate_name") == 0 {
			return strings.Join(s.drops(), " ")
		}
		return ""
	})
	if s.proxy.saw(s.Net.Addr(poolSide), "BYE") {
		t.Error("a proxy that is somebody else got the BYE")
	}
	if r := s.recorded(1)[0]; r.EndedBy != "gateway" || r.Code != 200 {
		t.Errorf("record: %d ended by %s", r.Code, r.EndedBy)
	}
}

// A user behind the proxy by TCP: the proxy records both of its addresses, one for each transport, and each BYE goes
// back through both (RFC 5658 3.3).
func TestTwoRecordedRoutes(t *testing.T) {
	t.Parallel()
	for _, fromGateway := range []bool{true, false} {
		t.Run(fmt.Sprintf("called by the gateway %v", fromGateway), func(t *testing.T) {
			t.Parallel()
			s := setStage(t, func(c *configuration, p *proxyConfig) {
				c.Pool.SRTP = "rejected"
				p.Users[0].Hops[0] = hop{c.Net.Addr(alice), 5060, "tcp"}
			})
			s.alice.stop()
			s.alice = startEndpoint(t, ua.Config{
				Name: "alice", Listen: fmt.Sprintf("tcp://%s:5060", s.Net.Addr(alice)), Audio: sine(poolTone),
			}, nil)
			for _, byCaller := range []bool{true, false} {
				var placed, taken *ua.Call
				if fromGateway {
					placed, taken = s.call(t, true)
				} else {
					placed = s.alice.place(t, fmt.Sprintf("sip:%s@%s:5060;transport=tcp", gatewayNumber, s.Net.Addr(proxy)), ua.Options{From: poolNumber})
					taken = s.gateway.received(t, 5*time.Second)
				}
				if n := len(routesOf(placed, taken)); n != 2 {
					t.Errorf("the user was told %d routes, want 2", n)
				}
				if byCaller {
					hangUp(t, placed, taken)
				} else {
					hangUp(t, taken, placed)
				}
			}
			oneConnection(t, s.proxy, s.Net.Addr(poolSide))
		})
	}
}

// routesOf returns the Record-Route headers that the user of the pool got: in the INVITE that it took, or in the 200 to
// the one it placed.
func routesOf(placed, taken *ua.Call) []string {
	all := taken.Invite().Headers
	if responses := placed.Responses(); len(responses) > 0 {
		all = append(all, responses[len(responses)-1].Headers...)
	}
	var routes []string
	for _, h := range all {
		if strings.EqualFold(h.Name, "Record-Route") {
			routes = append(routes, h.Value)
		}
	}
	return routes
}

// The gateway is a proxy too, such as the border of a trunk: it records its route and rings two phones by plain TCP. The
// user of the pool hears the early media of the one that gave it last, talks to the one that answers, holds it and
// resumes, all by the route set.
func TestGatewayIsAProxy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		fromGateway bool
		byUser      bool // the user hangs up
	}{
		{"called, hangs up", false, true}, {"called, the user hung up on", false, false},
		{"calling, hangs up", true, false}, {"calling, the user hangs up", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			needKamailio(t)
			net := rig.NewNetwork(t)
			config := standard(t, net)
			config.Gateway.Peer = fmt.Sprintf("sip:%s:5060;transport=tcp", net.Addr(proxy))
			config.Pool.Peer = fmt.Sprintf("sip:%s:5061;transport=tls", net.Addr(alice))
			trunk := startProxy(t, proxyConfig{
				IP: net.Addr(proxy), TLS: everyone(t, net),
				Default: fmt.Sprintf("sip:%s:5060;transport=tcp", net.Addr(gatewaySide)),
				Users:   []user{{User: gatewayNumber, Hops: []hop{{net.Addr(gateway), 5060, "tcp"}, {net.Addr(standby), 5060, "tcp"}}}},
			})
			s := start(t, config)
			before := s.holdings()
			user := userAt(t, net, alice, "alice", poolTone, nil)
			phone := gatewayAt(t, net, func(*ua.Call) ua.Reply {
				return ua.Reply{Ring: 500 * time.Millisecond, EarlyMedia: true, Answer: 1500 * time.Millisecond}
			})
			other := startEndpoint(t, ua.Config{
				Name: "other", Listen: fmt.Sprintf("tcp://%s:5060", net.Addr(standby)), Audio: sine(otherTone),
			}, func(*ua.Call) ua.Reply {
				return ua.Reply{Ring: 100 * time.Millisecond, EarlyMedia: true, Answer: never}
			})

			var atPool, atGateway *ua.Call
			if c.fromGateway {
				atGateway = phone.place(t, fmt.Sprintf("sip:%s@%s:5060;transport=tcp", poolNumber, net.Addr(proxy)), ua.Options{From: gatewayNumber})
				atPool = user.received(t, time.Second)
			} else {
				atPool = user.place(t, fmt.Sprintf("sip:%s@%s:5061;transport=tls", gatewayNumber, net.Addr(poolSide)), ua.Options{From: poolNumber})
				hearsLately(t, "the user before the answer", atPool, gatewayTone)
				atGateway = phone.received(t, time.Second)
				if lost := other.received(t, time.Second); !lost.Answered().IsZero() {
					t.Error("the other phone was answered")
				}
			}
			holds(t, atPool, atGateway, ua.Inactive)
			time.Sleep(500 * time.Millisecond)
			hearsLately(t, "the user", atPool, gatewayTone)
			hearsLately(t, "the phone", atGateway, poolTone)
			if c.byUser {
				hangUp(t, atPool, atGateway)
			} else {
				hangUp(t, atGateway, atPool)
			}
			if us := net.Addr(gatewaySide); trunk.saw(us, "BYE") != c.byUser {
				t.Errorf("the proxy saw %+v from causeway; BYE from it is %v", trunk.seen(us), c.byUser)
			}
			oneConnection(t, trunk, net.Addr(gatewaySide))
			s.settled(before, 3, 20*time.Second)
		})
	}
}
