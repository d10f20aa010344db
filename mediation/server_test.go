package mediation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"causeway/bench/tone"
	"causeway/bench/ua"
	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/qos/qoe"
)

func TestMain(m *testing.M) {
	// regexp2 keeps a coarse clock for its match time limit; it stops by itself.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dlclark/regexp2.runClock"))
}

// memorySpool keeps records.
type memorySpool struct {
	mu      sync.Mutex
	records []qoe.Record
}

func (m *memorySpool) Append(r *qoe.Record) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = append(m.records, *r)
	return true
}

func (m *memorySpool) wait(t *testing.T, n int) []qoe.Record {
	t.Helper()
	for range 500 {
		m.mu.Lock()
		if len(m.records) >= n {
			defer m.mu.Unlock()
			return append([]qoe.Record{}, m.records...)
		}
		m.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%d records did not come", n)
	return nil
}

func tcpPort(t *testing.T, ip string) int {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// newTestServer is a server on loopback: pool 127.0.0.1, gateway side
// 127.0.0.2, gateway 127.0.0.3, all TCP; change edits its settings.
func newTestServer(t *testing.T, change ...func(*conf.Mediation)) *Server {
	t.Helper()
	text := fmt.Sprintf(`
state_dir: %s
mediation:
  pool:
    listen: [tcp://127.0.0.1:%d]
    srtp: optional
    peers: [127.0.0.1]
    next_hop: "sip:127.0.0.1:%d;transport=tcp"
  gateway:
    listen: tcp://127.0.0.2:%d
    peer: "sip:127.0.0.3:%d"
`, t.TempDir(), tcpPort(t, "127.0.0.1"), tcpPort(t, "127.0.0.1"), tcpPort(t, "127.0.0.2"), tcpPort(t, "127.0.0.3"))
	cfg, _, err := conf.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(cfg.Mediation)
	}
	s, err := New(Config{Mediation: cfg.Mediation, Spool: &memorySpool{}, Log: slog.New(slog.DiscardHandler), UserAgent: "causeway/test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	mediaCtx, stopMedia := context.WithCancel(context.Background())
	var signalling, mediaPlane sync.WaitGroup
	mediaPlane.Go(func() {
		if err := s.RunMedia(mediaCtx); err != nil {
			t.Errorf("media: %v", err)
		}
	})
	signalling.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("server: %v", err)
		}
	})
	t.Cleanup(func() {
		stop()
		signalling.Wait()
		stopMedia()
		mediaPlane.Wait()
	})
	return s
}

func (s *Server) records() *memorySpool { return s.spool.(*memorySpool) }

func newUA(t *testing.T, c ua.Config) *ua.UA {
	t.Helper()
	u, err := ua.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := u.Run(ctx); err != nil {
			t.Errorf("endpoint %s: %v", c.Name, err)
		}
	})
	t.Cleanup(func() { stop(); running.Wait() })
	return u
}

// ends are the gateway and a client of the pool.
func ends(t *testing.T, s *Server, pool, gateway ua.Config) (client, gw *ua.UA) {
	t.Helper()
	next, peer := s.cfg.Pool.NextHop, s.cfg.Gateway.Peer
	pool.Listen, pool.Name = fmt.Sprintf("tcp://%s:%d", next.Host, next.Port), "client"
	gateway.Listen, gateway.Name = fmt.Sprintf("tcp://%s:%d", peer.Host, peer.Port), "gateway"
	return newUA(t, pool), newUA(t, gateway)
}

func (s *Server) uri(side media.Side, user string) string {
	addr := s.cfg.Pool.Listen[0].Addr
	if side == media.Gateway {
		addr = s.cfg.Gateway.Listen.Addr
	}
	return "sip:" + user + "@" + addr.String()
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func dialerFrom(ip string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
}

func sine(hz float64) func() tone.Source {
	return func() tone.Source { return tone.Sine(hz, -15) }
}

// TestBothHearEachOther: every pair of protection and codec, both directions.
func TestBothHearEachOther(t *testing.T) {
	for _, tt := range []struct {
		name          string
		suite         string
		pool, gateway []string
		from          media.Side
	}{
		{"plain, pass-through", "", []string{ua.PCMU}, []string{ua.PCMU}, media.Pool},
		{"SRTP 80, converted", ua.AES80, []string{ua.PCMU}, []string{ua.PCMA}, media.Pool},
		{"SRTP 32, from the gateway", ua.AES32, []string{ua.PCMA}, []string{ua.PCMU}, media.Gateway},
		{"SRTP GCM", ua.GCM, []string{ua.PCMU, ua.PCMA}, []string{ua.PCMA, ua.PCMU}, media.Pool},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTestServer(t, func(m *conf.Mediation) {
				if tt.suite != "" {
					m.Pool.SRTP = "required"
				}
			})
			client, gw := ends(t, s, ua.Config{SRTP: tt.suite, Codecs: tt.pool, Audio: sine(440)}, ua.Config{Codecs: tt.gateway, Audio: sine(1000)})
			caller := client
			if tt.from == media.Gateway {
				caller = gw
			}
			call, err := caller.Call(within(t), s.uri(tt.from, "+14255550100"), ua.Options{From: "+12065550100", HangupAfter: 1200 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			<-call.Done()
			heard, hz := call.Recording(), 1000.0
			if tt.from == media.Gateway {
				hz = 440
			}
			if level := tone.ToneLevel(heard, hz); level < -18 || level > -12 {
				t.Errorf("heard %.0f Hz at %.1f dBFS, want about -15", hz, level)
			}
			r := s.records().wait(t, 1)[0]
			if r.Code != 200 || r.Answer == nil || len(r.Legs) != 2 {
				t.Fatalf("record %+v", r)
			}
			for _, leg := range r.Legs {
				if leg.Receive.Packets < 50 || leg.Send.Packets < 50 || leg.Receive.Lost == nil || *leg.Receive.Lost != 0 {
					t.Errorf("%s leg: %+v", leg.Side, leg.Receive)
				}
			}
			if r.Legs[media.Pool].SRTP != tt.suite || r.Legs[media.Gateway].SRTP != "" {
				t.Errorf("SRTP %q and %q", r.Legs[0].SRTP, r.Legs[1].SRTP)
			}
		})
	}
}

// TestFailuresCross: what the gateway says is what the caller hears.
func TestFailuresCross(t *testing.T) {
	s := newTestServer(t)
	replies := make(chan ua.Reply, 1)
	client, _ := ends(t, s, ua.Config{}, ua.Config{OnInvite: func(*ua.Call) ua.Reply { return <-replies }})
	for i, tt := range []struct {
		reply  ua.Reply
		code   int
		reason string
	}{
		{ua.Reply{Code: 486, Reason: "Busy Here", Headers: []ua.Header{{Name: "Reason", Value: `Q.850;cause=17;text="User busy"`}}}, 486, `Q.850;cause=17;text="User busy"`},
		{ua.Reply{Code: 404}, 404, ""},
		{ua.Reply{Code: 503, Headers: []ua.Header{{Name: "Retry-After", Value: "7"}}}, 503, ""},
		{ua.Reply{Code: 603}, 603, ""},
		{ua.Reply{Code: 302, Reason: "Moved Temporarily"}, 480, `SIP;cause=302;text="Moved Temporarily"`},
	} {
		select {
		case replies <- tt.reply:
		default:
			t.Fatalf("before %d: the gateway was never asked for the call before", tt.code)
		}
		_, err := client.Call(within(t), s.uri(media.Pool, "+14255550100"), ua.Options{})
		var refused *ua.ResponseError
		if !errors.As(err, &refused) {
			t.Fatalf("%d: %v", tt.code, err)
		}
		if refused.Code != tt.code || refused.Final().Get("Reason") != tt.reason {
			t.Errorf("%d with Reason %q, want %d with %q", refused.Code, refused.Final().Get("Reason"), tt.code, tt.reason)
		}
		if tt.code == 503 && refused.Final().Get("Retry-After") != "7" {
			t.Error("Retry-After is lost")
		}
		r := s.records().wait(t, i+1)[i]
		if r.Code != tt.code || r.EndedBy != "gateway" || r.Answer != nil {
			t.Errorf("record %+v", r)
		}
	}
}

// TestCallerGivesUp: CANCEL reaches the gateway, the ports come back at once.
func TestCallerGivesUp(t *testing.T) {
	s := newTestServer(t)
	client, _ := ends(t, s, ua.Config{}, ua.Config{OnInvite: func(*ua.Call) ua.Reply { return ua.Reply{Answer: time.Minute} }})
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if _, err := client.Call(ctx, s.uri(media.Pool, "+1"), ua.Options{}); err == nil {
		t.Fatal("answered")
	}
	r := s.records().wait(t, 1)[0]
	if r.Code != 487 || r.EndedBy != "pool" || r.FirstProvisional == nil {
		t.Errorf("record %+v", r)
	}
}

// TestRefusedAtTheDoor: limits and policies that never reach the gateway.
func TestRefusedAtTheDoor(t *testing.T) {
	for name, tt := range map[string]struct {
		change  func(*conf.Mediation)
		client  ua.Config
		code    int
		warning string
	}{
		"SRTP required, RTP offered":  {func(m *conf.Mediation) { m.Pool.SRTP = "required" }, ua.Config{}, 488, "requires SRTP"},
		"SRTP rejected, SAVP offered": {func(m *conf.Mediation) { m.Pool.SRTP = "rejected" }, ua.Config{SRTP: ua.AES80}, 488, "plain RTP"},
		"no call is allowed":          {func(m *conf.Mediation) { m.MaxCalls = 0 }, ua.Config{}, 503, "max_calls"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestServer(t, tt.change)
			client, _ := ends(t, s, tt.client, ua.Config{})
			_, err := client.Call(within(t), s.uri(media.Pool, "+1"), ua.Options{})
			var refused *ua.ResponseError
			if !errors.As(err, &refused) || refused.Code != tt.code {
				t.Fatalf("%v, want %d", err, tt.code)
			}
			if w := refused.Final().Get("Warning"); !strings.Contains(w, tt.warning) {
				t.Errorf("Warning %q", w)
			}
			if r := s.records().wait(t, 1)[0]; r.Code != tt.code || r.EndedBy != "causeway" {
				t.Errorf("record %+v", r)
			}
		})
	}
}

// TestRefusedBeforeACall: an INVITE that validation refuses is an attempt too.
func TestRefusedBeforeACall(t *testing.T) {
	s := newTestServer(t)
	client, _ := ends(t, s, ua.Config{}, ua.Config{})
	_, err := client.Call(within(t), s.uri(media.Pool, "+1"), ua.Options{From: "+2", Headers: []ua.Header{{Name: "Require", Value: "teleportation"}}})
	var refused *ua.ResponseError
	if !errors.As(err, &refused) || refused.Code != 420 || refused.Final().Get("Unsupported") != "teleportation" {
		t.Fatalf("%v", err)
	}
	r := s.records().wait(t, 1)[0]
	if r.Code != 420 || r.CallIDs["pool"] == "" || !strings.Contains(r.Received.From, "+2") || r.Legs != nil {
		t.Errorf("record %+v", r)
	}
}

// TestPortsRunOut: with one pair the second call gets 503 and is counted; the
// first is not disturbed.
func TestPortsRunOut(t *testing.T) {
	s := newTestServer(t, func(m *conf.Mediation) { m.Ports = conf.PortRange{First: 64900, Last: 64901} })
	client, _ := ends(t, s, ua.Config{}, ua.Config{})
	first, err := client.Call(within(t), s.uri(media.Pool, "+1"), ua.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Call(within(t), s.uri(media.Pool, "+2"), ua.Options{})
	var refused *ua.ResponseError
	if !errors.As(err, &refused) || refused.Code != 503 || refused.Final().Get("Retry-After") == "" {
		t.Fatalf("%v", err)
	}
	if n := s.counters.portsExhausted.Load(); n != 1 {
		t.Errorf("counted %d", n)
	}
	if s.Ready() == nil {
		t.Error("ready without a port")
	}
	if err := first.Hangup(within(t)); err != nil {
		t.Error(err)
	}
}

// TestStopEndsCalls: a server that stops says BYE to both ends and keeps the
// record.
func TestStopEndsCalls(t *testing.T) {
	var s *Server
	var call *ua.Call
	t.Run("serve", func(t *testing.T) {
		s = newTestServer(t)
		client, _ := ends(t, s, ua.Config{}, ua.Config{})
		var err error
		if call, err = client.Call(within(t), s.uri(media.Pool, "+1"), ua.Options{}); err != nil {
			t.Fatal(err)
		}
		for _, c := range s.snapshot() {
			c.end("shutting down")
		}
		select {
		case <-call.Done():
		case <-time.After(5 * time.Second):
			t.Fatal("the caller got no BYE")
		}
		if by, reason := call.EndedBy(); by != ua.Remote || !strings.Contains(reason, "shutting down") {
			t.Errorf("ended by %s with %q", by, reason)
		}
	})
	if r := s.records().wait(t, 1)[0]; r.EndedBy != "causeway" || r.Answer == nil {
		t.Errorf("record %+v", r)
	}
}

// TestPanicEndsOneCall: a call that breaks is ended and recorded; its
// neighbour goes on.
func TestPanicEndsOneCall(t *testing.T) {
	s := newTestServer(t)
	client, _ := ends(t, s, ua.Config{}, ua.Config{})
	first, err := client.Call(within(t), s.uri(media.Pool, "+1"), ua.Options{})
	if err != nil {
		t.Fatal(err)
	}
	broken := s.snapshot()[0]
	second, err := client.Call(within(t), s.uri(media.Pool, "+2"), ua.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.mediaFailed(broken.id, errors.New("a panic in the media plane"))
	select {
	case <-first.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("the broken call goes on")
	}
	select {
	case <-second.Done():
		t.Fatal("its neighbour ended")
	case <-time.After(200 * time.Millisecond):
	}
	if err := second.Hangup(within(t)); err != nil {
		t.Error(err)
	}
}
