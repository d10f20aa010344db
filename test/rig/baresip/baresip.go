// Package baresip runs baresip as a peer: a telephone without sound card or screen that plays a tone and records what it
// hears, driven through its control socket.
//
// baresip 1.0.0 sends RTP and opens TCP connections from the address that the kernel prefers toward its peer, which on
// loopback is 127.0.0.1, so that is where a phone belongs.
package baresip

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"causeway/bench/tone"
	"causeway/test/rig"
)

// Config is one phone.
type Config struct {
	Name      string  // of its folder and log
	User      string  // user part of its address
	IP        string  // 127.0.0.1
	SIP       int     // UDP and TCP; TLS is the port behind it
	Transport string  // of its own calls: udp, tcp or tls
	Encrypt   string  // mediaenc: "srtp-mand" offers RTP/SAVP, "srtp" RTP/AVP with keys; "" is plain RTP
	Codecs    string  // "PCMU", "PCMA" or both, comma between
	Tone      float64 // Hz, what it plays
	Answer    string  // answermode: auto (default), manual, early
	TLS       rig.PKI
}

// ToneLevel is what phones play, in dBFS: loud enough to measure, far from clipping.
const ToneLevel = -15.0

// toneTime is how long a phone plays before it begins anew.
const toneTime = time.Minute

// files is what the templates are filled with.
type files struct {
	Config
	Dir, Source               string
	Control, Media, MediaLast int
}

// The files that baresip 1.0.0 reads. net_interface with an address keeps SIP and SDP on loopback; sndfile writes what
// each direction of a call sounded like; without the srtp module there is no encryption to fall back to.
var (
	configFile = template.Must(template.New("config").Parse(`poll_method epoll
net_interface {{.IP}}
sip_listen {{.IP}}:{{.SIP}}
sip_certificate {{.TLS.Pair}}
sip_cafile {{.TLS.CA}}
call_local_timeout 30
call_max_calls 4
audio_source aufile,{{.Source}}
audio_player aufile,none
audio_alert aufile,none
audio_path {{.Dir}}
audio_buffer 20-160
rtp_ports {{.Media}}-{{.MediaLast}}
rtcp_mux no
jitter_buffer_delay 2-10
rtp_stats yes
snd_path {{.Dir}}
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module sndfile.so
{{if .Encrypt}}module srtp.so
{{end}}module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{{.Control}}
`))
	accountFile = template.Must(template.New("accounts").Parse(
		`<sip:{{.User}}@{{.IP}};transport={{.Transport}}>;regint=0;answermode={{.Answer}}` +
			`;audio_codecs={{.Codecs}}{{if .Encrypt}};mediaenc={{.Encrypt}}{{end}}` + "\n"))
	contactsFile = template.Must(template.New("contacts").Parse(""))
)

// Phone is a running baresip. Its methods may be called from several goroutines; those that fail the test only from the
// test's own.
type Phone struct {
	*rig.Process
	t    testing.TB
	dir  string
	conn net.Conn

	mu     sync.Mutex // guards events
	events []Event
}

// Event is what a phone reports of a call.
type Event struct {
	Type      string `json:"type"` // CALL_ESTABLISHED, CALL_CLOSED, CALL_MENC
	Param     string `json:"param"`
	Direction string `json:"direction"`
}

// Start runs a phone until the end of the test and returns once it takes commands.
func Start(t testing.TB, c Config) *Phone {
	t.Helper()
	program := rig.Need(t, "baresip", "baresip-core")
	if c.Answer == "" {
		c.Answer = "auto"
	}
	f := files{Config: c, Dir: filepath.Join(t.TempDir(), c.Name), Control: rig.Port(t), Media: rig.Ports(t, 20)}
	f.MediaLast = f.Media + 19
	f.Source = filepath.Join(f.Dir, "tone.wav")
	if err := os.Mkdir(f.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	writeTone(t, f.Source, c.Tone)
	for name, file := range map[string]*template.Template{"config": configFile, "accounts": accountFile, "contacts": contactsFile} {
		var text strings.Builder
		if err := file.Execute(&text, f); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(f.Dir, name), []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := &Phone{t: t, dir: f.Dir, Process: rig.Spawn(t, f.Dir, c.Name, nil, program, "-f", f.Dir)}
	rig.Eventually(t, 10*time.Second, c.Name+" starts", func() string {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.Control))
		if err != nil {
			return err.Error()
		}
		p.conn = conn
		return ""
	})
	var listening sync.WaitGroup
	listening.Go(func() { p.listen(bufio.NewReader(p.conn)) })
	t.Cleanup(func() {
		p.conn.Close()
		listening.Wait()
	})
	return p
}

func writeTone(t testing.TB, name string, hz float64) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := tone.WriteWAV(f, tone.Rate, tone.Take(tone.Sine(hz, ToneLevel), toneTime)); err != nil {
		t.Fatal(err)
	}
}

// listen reads the control socket: netstrings of JSON, of which events are kept.
func (p *Phone) listen(r *bufio.Reader) {
	for {
		size, err := r.ReadString(':')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(size, ":"))
		if err != nil || n < 0 || n > 1<<16 {
			return
		}
		data := make([]byte, n+1) // and the comma
		if _, err := io.ReadFull(r, data); err != nil {
			return
		}
		var e Event
		if json.Unmarshal(data[:n], &e) == nil && e.Type != "" {
			p.mu.Lock()
			p.events = append(p.events, e)
			p.mu.Unlock()
		}
	}
}

// Command gives the phone a command of baresip's menu.
func (p *Phone) Command(name, params string) {
	p.t.Helper()
	data, err := json.Marshal(map[string]string{"command": name, "params": params, "token": name})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(p.conn, "%d:%s,", len(data), data); err != nil {
		p.t.Fatalf("%s: %s: %v", p.Name, name, err)
	}
}

// Dial places a call.
func (p *Phone) Dial(uri string) { p.t.Helper(); p.Command("dial", uri) }

// Accept answers the call that rings.
func (p *Phone) Accept() { p.t.Helper(); p.Command("accept", "") }

// Hangup ends the call.
func (p *Phone) Hangup() { p.t.Helper(); p.Command("hangup", "") }

// Hold stops the other end's audio by a re-INVITE with a=sendonly.
func (p *Phone) Hold() { p.t.Helper(); p.Command("hold", "") }

// Resume ends a hold.
func (p *Phone) Resume() { p.t.Helper(); p.Command("resume", "") }

// Events are those so far.
func (p *Phone) Events() []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Event(nil), p.events...)
}

// Press sends keys as the phone is set up to: telephone events where the peer takes them.
func (p *Phone) Press(keys string) { p.t.Helper(); p.Command("sndcode", keys) }

// Digits are the keys that the phone has been sent.
func (p *Phone) Digits() string {
	var digits strings.Builder
	for _, e := range p.Events() {
		if e.Type == "CALL_DTMF_START" {
			digits.WriteString(e.Param)
		}
	}
	return digits.String()
}

// Await waits for an event of a type and says whether it came.
func (p *Phone) Await(kind string, patience time.Duration) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if slices.ContainsFunc(p.Events(), func(e Event) bool { return e.Type == kind }) {
			return true
		}
	}
	return false
}

// Seen waits for the first event of a type.
func (p *Phone) Seen(kind string, patience time.Duration) Event {
	p.t.Helper()
	var found Event
	rig.Eventually(p.t, patience, p.Name+" reports "+kind, func() string {
		events := p.Events()
		for _, e := range events {
			if e.Type == kind {
				found = e
				return ""
			}
		}
		return fmt.Sprintf("%+v", events)
	})
	return found
}

// Counts are what a phone says of the RTP packets of a call when it is over.
type Counts struct {
	Sent, Received int
	Lost           int // of those that it should have received
	Refused        int // that it could not decrypt
}

var (
	packetsLine = regexp.MustCompile(`(?m)^packets: +(\d+) +(\d+)`)
	lostLine    = regexp.MustCompile(`(?m)^lost: +(-?\d+) +(-?\d+)`)
)

// Counts waits for the end of the first call and returns what it counted.
func (p *Phone) Counts(patience time.Duration) Counts {
	p.t.Helper()
	var c Counts
	rig.Eventually(p.t, patience, p.Name+" counts its packets", func() string {
		out := p.Output()
		m := packetsLine.FindStringSubmatch(out)
		if m == nil {
			return "no summary of a call"
		}
		c.Sent, _ = strconv.Atoi(m[1])
		c.Received, _ = strconv.Atoi(m[2])
		if m := lostLine.FindStringSubmatch(out); m != nil { // not there before the first report
			c.Lost, _ = strconv.Atoi(m[2])
		}
		c.Refused = strings.Count(out, "failed to decrypt")
		return ""
	})
	return c
}

// Heard ends the phone, which completes its recordings, and returns what came in during its one call, 8000 samples a
// second. From the first re-INVITE on, baresip 1.0.0 records nothing more; see Counts.
func (p *Phone) Heard() []int16 {
	p.t.Helper()
	_ = p.Stop(syscall.SIGTERM, 10*time.Second)
	recordings, err := filepath.Glob(filepath.Join(p.dir, "dump-*-dec.wav"))
	if err != nil || len(recordings) != 1 {
		p.t.Fatalf("%s left %d recordings of what it heard, want 1 (%v)", p.Name, len(recordings), err)
	}
	f, err := os.Open(recordings[0])
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	rate, pcm, err := tone.ReadWAV(f)
	if err != nil || rate != tone.Rate {
		p.t.Fatalf("%s recorded at %d Hz: %v", p.Name, rate, err)
	}
	return pcm
}
