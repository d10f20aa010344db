package sip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/locate"
)

// registrar is the other end of exchange, in memory. say answers the n-th
// request, from 0: a nil response is silence.
type registrar struct {
	start time.Time
	say   func(n int, req *sip.Request) *sip.Response

	mu  sync.Mutex
	got []received
}

type received struct {
	at  time.Duration
	req *sip.Request
}

var errUnreachable = errors.New("connection refused")

func (r *registrar) exchange(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	r.mu.Lock()
	n := len(r.got)
	r.got = append(r.got, received{time.Since(r.start), req})
	r.mu.Unlock()
	// As the endpoint will.
	req.PrependHeader(&sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: req.Transport(), Host: "192.0.2.1", Params: sip.NewParams()})
	req.AppendHeader(sip.NewHeader("User-Agent", "causeway/test"))
	res := r.say(n, req)
	switch {
	case res == nil:
		<-ctx.Done()
		return nil, ctx.Err()
	case res.StatusCode == 0:
		return nil, errUnreachable
	}
	res.SetSource(req.Destination())
	return res, nil
}

func (r *registrar) requests() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// times are when the requests came, in seconds.
func (r *registrar) times() []float64 {
	var out []float64
	for _, g := range r.requests() {
		out = append(out, g.at.Seconds())
	}
	return out
}

// says is a response with headers "Name: value"; code 0 is no way to the peer.
func says(req *sip.Request, code int, headers ...string) *sip.Response {
	res := sip.NewResponseFromRequest(req, code, "Said", nil)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Contact" {
			c := &sip.ContactHeader{Params: sip.NewParams()}
			if _, err := sip.ParseAddressValue(value, &c.Address, &c.Params); err != nil {
				panic(err)
			}
			res.AppendHeader(c)
			continue
		}
		res.AppendHeader(sip.NewHeader(name, value))
	}
	return res
}

// grant is a 200 that gives what was asked for.
func grant(req *sip.Request) *sip.Response {
	return says(req, 200, "Contact: "+req.Contact().Value())
}

func asked(req *sip.Request) string {
	expires, _ := req.Contact().Params.Get("expires")
	if h := req.GetHeader("Expires"); h == nil || h.Value() != expires {
		return "two minds: " + expires
	}
	return expires
}

// addresses is a DNS that knows one name.
type addresses []string

func (addresses) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{IsNotFound: true}
}

func (a addresses) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range a {
		out = append(out, netip.MustParseAddr(text))
	}
	return out, nil
}

func trunkPeer(t testing.TB, addrs ...string) *locate.Peer {
	t.Helper()
	if len(addrs) == 0 {
		addrs = []string{"192.0.2.9"}
	}
	p, err := locate.New(locate.Config{
		Host: "gw.example.test", Port: 5070, Network: "tcp", Resolver: addresses(addrs),
		Heartbeat: locate.Heartbeat{Interval: time.Hour, Failures: 1}, Strict: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const trunkAOR = "sip:+4930@example.test"

func newTestRegistration(t testing.TB, peer *locate.Peer, change func(*RegistrationConfig)) *Registration {
	t.Helper()
	cfg := RegistrationConfig{
		Registrar: "sip:nobody@example.test", AOR: trunkAOR, Expires: time.Hour,
		Credentials: &Credentials{"trunk", "secret"}, Peer: peer, Rand: func() float64 { return 0 },
	}
	if change != nil {
		change(&cfg)
	}
	r, err := newRegistration(cfg, sip.Uri{Scheme: "sip", Host: "192.0.2.1", Port: 5080, UriParams: sip.HeaderParams{{K: "transport", V: "tcp"}}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// register drives r against say until the end of the bubble, or stop.
func register(t *testing.T, r *Registration, say func(n int, req *sip.Request) *sip.Response) (other *registrar, stop func()) {
	other = &registrar{start: time.Now(), say: say}
	ctx, cancel := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Go(func() { RunRegistration(ctx, other, r) })
	stop = func() { cancel(); ended.Wait() }
	t.Cleanup(stop)
	return other, stop
}

// after waits until s seconds have passed since the start and all is quiet.
func (r *registrar) after(s float64) {
	time.Sleep(time.Until(r.start.Add(time.Duration(s * float64(time.Second)))))
	synctest.Wait()
}

func wantTimes(t *testing.T, other *registrar, want ...float64) {
	t.Helper()
	if got := other.times(); !slices.Equal(got, want) {
		t.Errorf("requests at %v s, want %v", got, want)
	}
}

// RFC 3261 10.2: what REGISTER looks like, and its refresh (10.2.4).
func TestRegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestRegistration(t, trunkPeer(t), nil)
		if r.Status().Registered {
			t.Error("registered before it began")
		}
		other, _ := register(t, r, func(_ int, req *sip.Request) *sip.Response { return grant(req) })
		other.after(15 * 60)
		wantTimes(t, other, 0, 15*60)
		var callID string
		for i, g := range other.requests() {
			req := g.req
			if i == 0 {
				callID = req.CallID().Value()
			}
			tag, _ := req.From().Params.Get("tag")
			if req.Method != sip.REGISTER || req.Recipient.String() != "sip:example.test" || req.To().Value() != "<"+trunkAOR+">" ||
				req.From().Address.String() != trunkAOR || tag != r.tag || req.CallID().Value() != callID || int(req.CSeq().SeqNo) != i+1 ||
				req.CSeq().MethodName != sip.REGISTER || req.MaxForwards().Val() != 70 || asked(req) != "3600" ||
				req.Contact().Address.String() != "sip:+4930@192.0.2.1:5080;transport=tcp" || len(req.GetHeaders("Via")) != 1 {
				t.Errorf("request %d is\n%s", i, req)
			}
			if req.Destination() != "192.0.2.9:5070" || req.Transport() != "TCP" {
				t.Errorf("request %d goes to %s by %s", i, req.Destination(), req.Transport())
			}
		}
		s := r.Status()
		if !s.Registered || !s.Expires.Equal(other.start.Add(75*time.Minute)) || s.Target.Addr.String() != "192.0.2.9:5070" || s.Err != nil || s.Failures != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestRefreshAtHalfAtMostQuarterOfAnHour(t *testing.T) {
	for granted, want := range map[int]float64{1: 1, 2: 1, 60: 30, 1000: 500, 1800: 900, 3600: 900, 86400: 900} {
		synctest.Test(t, func(t *testing.T) {
			other, _ := register(t, newTestRegistration(t, trunkPeer(t), nil), func(_ int, req *sip.Request) *sip.Response {
				return says(req, 200, fmt.Sprintf("Expires: %d", granted))
			})
			other.after(want)
			wantTimes(t, other, 0, want)
		})
	}
}

// RFC 3261 10.2.4: our own binding's time, among several.
func TestWhatIsGranted(t *testing.T) {
	const other = "Contact: <sip:+4930@192.0.2.77>;expires=20"
	for _, c := range []struct {
		name    string
		headers []string
		want    time.Duration // 0: not registered
	}{
		{"our parameter before the header", []string{"Expires: 900", other, "Contact: <sip:+4930@192.0.2.1:5080>;expires=600", "Contact: <sip:+4930@192.0.2.78>;expires=30"}, 600 * time.Second},
		{"another case, another order", []string{"Contact: \"x\" <sip:+4930@192.0.2.1:5080;transport=tcp>;q=0.5;EXPIRES=60"}, time.Minute},
		{"the header", []string{other, "Contact: <sip:+4930@192.0.2.1:5080>", "Expires: 900"}, 900 * time.Second},
		{"neither: what we asked for", []string{"Contact: <sip:+4930@192.0.2.1:5080>"}, time.Hour},
		{"no binding at all, with the header", []string{"Expires: 120"}, 2 * time.Minute},
		{"nothing", nil, time.Hour},
		{"our address written anew", []string{"Contact: <sip:+4930@203.0.113.5:31000>;expires=300", "Contact: <sip:+4930@203.0.113.6>;expires=200"}, 200 * time.Second},
		{"another port is another binding", []string{"Contact: <sip:+4930@192.0.2.1>;expires=50", "Contact: <sip:+4930@192.0.2.1:5080>;expires=70"}, 70 * time.Second},
		{"another user is another binding", []string{"Contact: <sip:x@192.0.2.1:5080>;expires=50", "Contact: <sip:+4930@192.0.2.1:5080>;expires=70"}, 70 * time.Second},
		{"nonsense is no time", []string{"Contact: <sip:+4930@192.0.2.1:5080>;expires=soon", "Expires: -1"}, time.Hour},
		{"more than there is", []string{"Contact: <sip:+4930@192.0.2.1:5080>;expires=99999999999999999999"}, (1<<32 - 1) * time.Second},
		{"nothing granted", []string{"Contact: <sip:+4930@192.0.2.1:5080>;expires=0"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTestRegistration(t, trunkPeer(t), nil)
				register(t, r, func(_ int, req *sip.Request) *sip.Response { return says(req, 200, c.headers...) })
				synctest.Wait()
				s := r.Status()
				if s.Registered != (c.want > 0) || s.Registered && time.Until(s.Expires) != c.want {
					t.Errorf("registered %v for %v, want %v", s.Registered, time.Until(s.Expires), c.want)
				}
				if c.want == 0 && !errors.Is(s.Err, errNotBound) {
					t.Errorf("error %v", s.Err)
				}
			})
		})
	}
}

// RFC 3261 10.2.8: 423 says how long is long enough.
func TestIntervalTooBrief(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other, _ := register(t, newTestRegistration(t, trunkPeer(t), nil), func(n int, req *sip.Request) *sip.Response {
			if n == 0 {
				return says(req, 423, "Min-Expires: 7200")
			}
			return grant(req)
		})
		other.after(900)
		wantTimes(t, other, 0, 0, 900)
		for i, want := range []string{"3600", "7200", "7200"} {
			if got := asked(other.requests()[i].req); got != want {
				t.Errorf("request %d asks for %s s, want %s", i, got, want)
			}
		}
	})
	for _, useless := range [][]string{nil, {"Min-Expires: 3600"}, {"Min-Expires: 10"}, {"Min-Expires: x"}, {"Min-Expires: 86401"}} {
		synctest.Test(t, func(t *testing.T) {
			r := newTestRegistration(t, trunkPeer(t), nil)
			other, _ := register(t, r, func(_ int, req *sip.Request) *sip.Response { return says(req, 423, useless...) })
			synctest.Wait()
			wantTimes(t, other, 0)
			if !errors.Is(r.Status().Err, errMinExpires) {
				t.Errorf("%v: %v", useless, r.Status().Err)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // more, and more, and more
		r := newTestRegistration(t, trunkPeer(t), nil)
		other, _ := register(t, r, func(n int, req *sip.Request) *sip.Response {
			return says(req, 423, fmt.Sprintf("Min-Expires: %d", 3601+n))
		})
		synctest.Wait()
		if n := len(other.requests()); n != askAtMost || !errors.Is(r.Status().Err, errTooMany) {
			t.Errorf("%d requests, %v", n, r.Status().Err)
		}
	})
}

// RFC 3261 22.2: the retry has CSeq + 1 and the same Call-ID.
func TestRegisterWithCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestRegistration(t, trunkPeer(t), nil)
		other, stop := register(t, r, func(_ int, req *sip.Request) *sip.Response {
			if req.GetHeader("Authorization") == nil {
				return says(req, 401, `WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256`)
			}
			return grant(req)
		})
		other.after(900)
		wantTimes(t, other, 0, 0, 900, 900)
		stop()
		got := other.requests()
		if len(got) != 6 || r.Status().Registered {
			t.Fatalf("%d requests, want 6; registered: %v", len(got), r.Status().Registered)
		}
		for i, g := range got {
			expires := map[bool]string{true: "0", false: "3600"}[i > 3]
			if int(g.req.CSeq().SeqNo) != i+1 || g.req.CallID().Value() != got[0].req.CallID().Value() || asked(g.req) != expires || len(g.req.GetHeaders("Via")) != 1 || len(g.req.GetHeaders("User-Agent")) != 1 {
				t.Errorf("request %d is\n%s", i, g.req)
			}
		}
		p := sentCredentials(t, got[1].req, "Authorization")
		want := hex256(hex256("trunk", "r", "secret"), "n", "00000001", p["cnonce"], "auth", hex256("REGISTER", "sip:example.test"))
		if p["response"] != want || p["uri"] != "sip:example.test" {
			t.Errorf("credentials %v", p)
		}
	})
	for name, c := range map[string]struct {
		credentials *Credentials
		want        error
		requests    int
	}{
		"refused": {&Credentials{"trunk", "wrong"}, errCredentialsRefused, 2},
		"none":    {nil, errNoCredentials, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newTestRegistration(t, trunkPeer(t), func(cfg *RegistrationConfig) { cfg.Credentials = c.credentials })
			other, _ := register(t, r, func(_ int, req *sip.Request) *sip.Response {
				return says(req, 401, `WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"`)
			})
			other.after(1)
			if n := len(other.requests()); n != c.requests || !errors.Is(r.Status().Err, c.want) {
				t.Errorf("%s: %d requests, %v", name, n, r.Status().Err)
			}
		})
	}
}
