package proxies

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"math"
	"os"
	"sync"
	"testing"
	"time"

	"causeway/bench/tone"
	"causeway/bench/ua"
	"causeway/test/rig"
)

// Tones that are not multiples of each other, so that distortion of one does not pass for the other.
const (
	poolTone    = 440.0  // Hz
	otherTone   = 620.0  // of a second user of the pool
	gatewayTone = 1020.0 // Hz
	toneLevel   = -15.0  // dBFS
)

func sine(hz float64) func() tone.Source {
	return func() tone.Source { return tone.Sine(hz, toneLevel) }
}

// identity is how an endpoint of the pool serves and verifies: both ends show certificates.
func identity(t *testing.T, files rig.PKI) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(files.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, RootCAs: roots, ClientCAs: roots,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}
}

// endpoint is a telephone of the tests' own, and the calls that it receives.
type endpoint struct {
	*ua.UA
	incoming chan *ua.Call
	stop     func()
}

// startEndpoint runs an endpoint until stop, at the end of the test at the latest. reply says how it answers; nil
// answers after 100 ms.
func startEndpoint(t *testing.T, c ua.Config, reply func(*ua.Call) ua.Reply) *endpoint {
	t.Helper()
	e := &endpoint{incoming: make(chan *ua.Call, 16)}
	c.OnInvite = func(call *ua.Call) ua.Reply {
		select {
		case e.incoming <- call:
		default:
			t.Errorf("%s: more calls than the test looks at", c.Name)
		}
		if reply == nil {
			return ua.Reply{Answer: 100 * time.Millisecond}
		}
		return reply(call)
	}
	var err error
	if e.UA, err = ua.New(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := e.Run(ctx); err != nil {
			t.Errorf("endpoint %s: %v", c.Name, err)
		}
	})
	e.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(e.stop)
	return e
}

// received waits for the next call to the endpoint.
func (e *endpoint) received(t *testing.T, patience time.Duration) *ua.Call {
	t.Helper()
	select {
	case c := <-e.incoming:
		return c
	case <-time.After(patience):
		t.Fatal("the call does not arrive")
		return nil
	}
}

// place calls and returns once the call is answered.
func (e *endpoint) place(t *testing.T, target string, o ua.Options) *ua.Call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	call, err := e.Call(ctx, target, o)
	if err != nil {
		t.Fatal(err)
	}
	return call
}

// hangUp ends a call from one end and waits for both.
func hangUp(t *testing.T, by, other *ua.Call) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := by.Hangup(ctx); err != nil {
		t.Errorf("hang up: %v", err)
	}
	select {
	case <-other.Done():
		if end, _ := other.EndedBy(); end != ua.Remote || other.Err() != nil {
			t.Errorf("the other end was ended by %s: %v", end, other.Err())
		}
	case <-ctx.Done():
		t.Fatal("the other end of the call does not end")
	}
}

// hears checks what one end of a call heard: a tone at the level it was played, without gaps, nothing lost.
func hears(t *testing.T, name string, c *ua.Call, hz float64) {
	t.Helper()
	st := c.Stats()
	if st.Lost != 0 || st.Rejected != 0 || st.Duplicates != 0 {
		t.Errorf("%s lost %d packets, rejected %d, received %d twice", name, st.Lost, st.Rejected, st.Duplicates)
	}
	pcm := c.Recording()
	if len(pcm) < tone.Samples(800*time.Millisecond) {
		t.Errorf("%s heard %v", name, tone.Duration(len(pcm)))
		return
	}
	hearsLately(t, name, c, hz)
}

// hearsLately checks whom an end heard in the last 600 ms: who it is is the question here, how well is test/interop's, so
// that a busy machine may take some of the sound away.
func hearsLately(t *testing.T, name string, c *ua.Call, hz float64) {
	t.Helper()
	pcm := c.Recording()
	if len(pcm) < tone.Samples(600*time.Millisecond) {
		t.Errorf("%s heard %v", name, tone.Duration(len(pcm)))
		return
	}
	isTone(t, name, pcm[len(pcm)-tone.Samples(600*time.Millisecond):], hz)
}

// isTone checks that the loudest that was heard is a tone, about as loud as it was played.
func isTone(t *testing.T, name string, pcm []int16, hz float64) {
	t.Helper()
	loudest, level := tone.Dominant(pcm)
	if math.Abs(loudest-hz) > 12 || math.Abs(level-toneLevel) > 6 {
		t.Errorf("%s heard %.0f Hz at %.1f dBFS, want %g at %.1f", name, loudest, level, hz, toneLevel)
	}
}
