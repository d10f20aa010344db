package proxies

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"causeway/test/rig"
)

// proxyConfig is what testdata/kamailio.cfg is filled with.
type proxyConfig struct {
	IP      netip.Addr
	TLS     rig.PKI
	Users   []user
	Default string // URI of where everything else goes
	RouteAs string // the name that it records instead of its address
	Deaf    hop    // who is behind the hop throughDeaf, which hears no CANCEL

	TLSPort, TCPPort, DeafPort int
	Dir                        string
}

// user is where calls to a user part go: to all hops at once.
type user struct {
	User string
	Hops []hop
}

type hop struct {
	IP        netip.Addr
	Port      int
	Transport string // tls or tcp
}

// URI is what the INVITE to the hop is for.
func (h hop) URI(user string) string {
	return fmt.Sprintf("sip:%s@%s:%d;transport=%s", user, h.IP, h.Port, h.Transport)
}

// Ports of the proxy.
const (
	proxyTLS  = 5061
	proxyTCP  = 5060
	proxyDeaf = 5070
)

// throughDeaf is the way to proxyConfig.Deaf.
func throughDeaf(net rig.Network) hop { return hop{net.Addr(proxy), proxyDeaf, "tcp"} }

// kamailio is a running proxy.
type kamailio struct {
	*rig.Process
	t      *testing.T
	config proxyConfig
	runs   int
}

// needKamailio returns the path of the program, which is not on everybody's.
func needKamailio(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("/usr/sbin/kamailio"); err == nil {
		return path
	}
	return rig.Need(t, "kamailio", "kamailio kamailio-tls-modules")
}

// startProxy runs Kamailio until the end of the test, and returns once it listens.
func startProxy(t *testing.T, c proxyConfig) *kamailio {
	t.Helper()
	c.TLSPort, c.TCPPort, c.DeafPort, c.Dir = proxyTLS, proxyTCP, proxyDeaf, t.TempDir()
	k := &kamailio{t: t, config: c}
	k.run()
	return k
}

// configure writes its files.
func (k *kamailio) configure() {
	k.t.Helper()
	for _, name := range []string{"kamailio.cfg", "kamailio-tls.cfg"} {
		file, err := template.ParseFiles(filepath.Join("testdata", name))
		if err != nil {
			k.t.Fatal(err)
		}
		var text strings.Builder
		if err := file.Execute(&text, k.config); err != nil {
			k.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(k.config.Dir, name), []byte(text.String()), 0o600); err != nil {
			k.t.Fatal(err)
		}
	}
}

// run starts the process. Foreground, a little memory, its own folder for what it writes at run time.
func (k *kamailio) run() {
	k.t.Helper()
	k.configure()
	k.runs++
	dir := k.config.Dir
	k.Process = rig.SpawnFamily(k.t, dir, fmt.Sprintf("kamailio%d", k.runs), nil, needKamailio(k.t),
		"-DD", "-E", "-f", filepath.Join(dir, "kamailio.cfg"), "-Y", dir, "-w", dir, "-m", "32", "-M", "4", "-a", "no")
	k.t.Cleanup(k.end)
	rig.Eventually(k.t, 15*time.Second, "kamailio answers", func() string {
		if !k.Running() {
			k.t.Fatalf("kamailio ended at once: %v\n%s", k.Wait(0), k.Output())
		}
		return k.silent()
	})
}

// silent says why it does not answer OPTIONS by TCP yet, or "". It listens long before its workers are ready.
func (k *kamailio) silent() string {
	conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(k.config.IP, uint16(k.config.TCPPort)).String(), time.Second)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprintf(conn, "OPTIONS sip:%[1]s SIP/2.0\r\nVia: SIP/2.0/TCP %[2]s;branch=z9hG4bKready\r\nMax-Forwards: 1\r\n"+
		"From: <sip:test@%[2]s>;tag=1\r\nTo: <sip:%[1]s>\r\nCall-ID: ready\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
		k.config.IP, conn.LocalAddr())
	answer := make([]byte, 512)
	n, err := conn.Read(answer)
	if err != nil {
		return err.Error()
	}
	if !strings.HasPrefix(string(answer[:n]), "SIP/2.0 200 ") {
		return fmt.Sprintf("answers %q", answer[:n])
	}
	return ""
}

// end asks it to end, as a restart of a service does.
func (k *kamailio) end() {
	if !k.Running() {
		return
	}
	if err := k.Stop(syscall.SIGTERM, 10*time.Second); err != nil {
		k.t.Errorf("kamailio on SIGTERM: %v", err)
	}
}

// restart ends it, its connections with it, and starts it anew.
func (k *kamailio) restart() {
	k.t.Helper()
	k.end()
	k.run()
}

// sighting is one message that arrived at the proxy.
type sighting struct {
	Reply      bool
	What       string // method of a request; code and method of a reply
	CallID     string
	From       netip.AddrPort
	Connection string // Kamailio's number of it
}

var sightingLine = regexp.MustCompile(`PROXY (request|reply) ([^|]+)\|([^|]+)\|(\S+) (\d+) (\d+)`)

// seen returns the messages from an address that its present run has seen, in order.
func (k *kamailio) seen(from netip.Addr) []sighting {
	var all []sighting
	for _, m := range sightingLine.FindAllStringSubmatch(k.Output(), -1) {
		at, err := netip.ParseAddrPort(m[4] + ":" + m[5])
		if err != nil || at.Addr() != from {
			continue
		}
		all = append(all, sighting{Reply: m[1] == "reply", What: m[2], CallID: m[3], From: at, Connection: m[6]})
	}
	return all
}

// saw says whether a request came from an address.
func (k *kamailio) saw(from netip.Addr, method string) bool {
	for _, s := range k.seen(from) {
		if !s.Reply && s.What == method {
			return true
		}
	}
	return false
}
