package turnload

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"causeway/bench/turnload"
	"causeway/test/rig"
)

// Everybody has an address of their own, so that no port that one of them gets is missing where another wants it.
var (
	causewayHost = netip.MustParseAddr("127.1.0.1") // rivals follow at 127.1.1.0
	coturnHost   = netip.MustParseAddr("127.1.0.2")
	peerHost     = netip.MustParseAddr("127.1.0.3")
	clientHosts  = netip.MustParseAddr("127.1.2.0") // and up: one for each load, since a server may remember the one before
)

const (
	realm    = "example.org"
	user     = "alice"
	password = "secret"
	secret   = "newest"

	firstRelayPort, lastRelayPort = 40000, 59999
)

// server is a TURN server that runs.
type server struct {
	*rig.Process
	name string
	addr netip.AddrPort
	// credentials are the ones that it takes for the clients of a load.
	credentials func(client int) (user, password string)
}

// launch says how to run a server.
type launch struct {
	core int               // the only processor that it may use; -1: any
	rest bool              // each client is a user of its own
	env  map[string]string // for causeway
}

func (l launch) credentials() func(int) (string, string) {
	if l.rest {
		return turnload.RestUsers(secret, time.Now().Add(time.Hour))
	}
	return turnload.OneUser(user, password)
}

// spawn starts a server on its processor. The processor is chosen before the program begins, because it counts them
// then.
func (l launch) spawn(t testing.TB, dir, name, path string, args ...string) *rig.Process {
	t.Helper()
	var env []string
	for name, value := range l.env {
		env = append(env, name+"="+value)
	}
	if l.core >= 0 {
		args = append([]string{"-c", strconv.Itoa(l.core), path}, args...)
		path = rig.Need(t, "taskset", "util-linux")
	}
	return rig.Spawn(t, dir, name, env, path, args...)
}

const causewayFile = `state_dir: %[1]s/state
admin: {listen: "%[2]s:%[3]d"}
relay:
  realm: ` + realm + `
  workers: 1
  listen: ["udp://%[2]s:%[4]d"]
  ports: %[5]d-%[6]d
  users: {` + user + `: ` + password + `}
  rest_secrets: [` + secret + `]
  peers: {allow: [127.0.0.0/8]}
  limits: {allocations: 20000, allocations_per_user: 20000, packets_per_second: 0, bytes_per_second: 0}
`

// startCauseway runs the relay under test. The limits of a user are lifted because one user may stand for all clients.
func startCauseway(t testing.TB, l launch) *server {
	t.Helper()
	return startBuild(t, l, causeway, causewayHost)
}

func startBuild(t testing.TB, l launch, path string, host netip.Addr) *server {
	t.Helper()
	dir, admin, port := t.TempDir(), rig.Port(t), rig.Port(t)
	file := filepath.Join(dir, "causeway.yaml")
	text := fmt.Sprintf(causewayFile, dir, host, admin, port, firstRelayPort, lastRelayPort)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{
		Process: l.spawn(t, dir, "causeway", path, "serve", "-c", file),
		name:    filepath.Base(path), addr: netip.AddrPortFrom(host, uint16(port)), credentials: l.credentials(),
	}
	s.wait(t)
	return s
}

// startCoturn runs Debian's coturn with one relay thread, with which it is cheapest on one processor.
func startCoturn(t testing.TB, l launch) *server {
	t.Helper()
	path := rig.Need(t, "turnserver", "coturn")
	dir, port := t.TempDir(), rig.Port(t)
	args := []string{
		"-n", "-r", realm, "-L", coturnHost.String(), "-E", coturnHost.String(), "-p", strconv.Itoa(port),
		"--min-port", strconv.Itoa(firstRelayPort), "--max-port", strconv.Itoa(lastRelayPort),
		"-m", "1", "--no-tls", "--no-dtls", "--no-cli", "--allow-loopback-peers", "--no-stdout-log", "--log-file", "/dev/null",
		"--pidfile", filepath.Join(dir, "turnserver.pid"), "--userdb", filepath.Join(dir, "turndb"),
	}
	if l.rest {
		args = append(args, "--use-auth-secret", "--static-auth-secret", secret)
	} else {
		args = append(args, "-a", "-u", user+":"+password)
	}
	s := &server{
		Process: l.spawn(t, dir, "turnserver", path, args...),
		name:    "coturn", addr: netip.AddrPortFrom(coturnHost, uint16(port)), credentials: l.credentials(),
	}
	s.wait(t)
	return s
}

// wait returns when the server answers.
func (s *server) wait(t testing.TB) {
	t.Helper()
	conn, err := net.Dial("udp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// A Binding request (RFC 8489 section 5), with a transaction ID of zeros.
	request := [20]byte{0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42}
	rig.Eventually(t, 10*time.Second, s.name+" answers", func() string {
		if !s.Running() {
			t.Fatalf("%s ended at once: %v", s.name, s.Wait(0))
		}
		_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := conn.Write(request[:]); err != nil {
			return err.Error()
		}
		if _, err := conn.Read(make([]byte, 1500)); err != nil {
			return err.Error()
		}
		return ""
	})
}

// open opens clients for the server, which the caller has to close.
func (s *server) open(t testing.TB, sessions, peers, inFlight int) *turnload.Load {
	t.Helper()
	clientHosts = clientHosts.Next()
	l, err := turnload.Open(turnload.Options{
		Server: s.addr, Client: clientHosts, Peer: peerHost, Sessions: sessions, Peers: peers, InFlight: inFlight,
		Credentials: s.credentials,
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// load opens clients for the server. They are gone when the test is over.
func (s *server) load(t testing.TB, sessions, peers, inFlight int) *turnload.Load {
	t.Helper()
	l := s.open(t, sessions, peers, inFlight)
	t.Cleanup(func() {
		if !s.Running() {
			t.Errorf("%s ended during the test", s.name)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return l
}

// cpu is the processor time that the server has used.
func (s *server) cpu(t testing.TB) time.Duration {
	t.Helper()
	d, err := turnload.CPU(s.PID())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// switches is how often the server's threads went to sleep or were interrupted.
func (s *server) switches(t testing.TB) uint64 {
	t.Helper()
	n, err := turnload.Switches(s.PID())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// memory is what the server has in memory.
func (s *server) memory(t testing.TB) turnload.Memory {
	t.Helper()
	m, err := turnload.Resident(s.PID())
	if err != nil {
		t.Fatal(err)
	}
	return m
}
