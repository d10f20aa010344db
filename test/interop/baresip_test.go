package interop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
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

// phone is a baresip without sound card or screen: it plays a file and records
// what it sends and receives, driven through its control socket.
type phone struct {
	*rig.Process
	t    *testing.T
	dir  string
	conn net.Conn

	mu     sync.Mutex // guards events
	events []phoneEvent
}

type phoneEvent struct {
	Type      string `json:"type"`
	Param     string `json:"param"`
	Direction string `json:"direction"`
}

// phoneConfig is one baresip.
type phoneConfig struct {
	Name      string // of its folder and log
	User      string // user part of its address
	IP        string
	SIP       int    // UDP and TCP; TLS is the port behind it
	Transport string // of its own calls: tcp or tls
	Encrypt   string // mediaenc: "srtp-mand" offers RTP/SAVP, "srtp" RTP/AVP with keys; "" is plain RTP
	Codecs    string // "PCMU", "PCMA" or both, comma between
	Tone      float64

	Dir              string
	Control, Media   int
	MediaLast        int
	Pair, CA, Source string
}

// The files that baresip 1.0.0 reads. net_interface with an address keeps SIP
// and SDP on loopback; sndfile writes what each direction of a call sounded
// like; without the srtp module there is no encryption to fall back to.
var (
	phoneFile = template.Must(template.New("config").Parse(`poll_method epoll
net_interface {{.IP}}
sip_listen {{.IP}}:{{.SIP}}
sip_certificate {{.Pair}}
sip_cafile {{.CA}}
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
	phoneAccount = template.Must(template.New("accounts").Parse(
		`<sip:{{.User}}@{{.IP}};transport={{.Transport}}>;regint=0;answermode=auto` +
			`;audio_codecs={{.Codecs}}{{if .Encrypt}};mediaenc={{.Encrypt}}{{end}}` + "\n"))
)

// toneLevel is what the phones play: loud enough to measure, far from clipping.
const toneLevel = -15.0 // dBFS

func startPhone(t *testing.T, c phoneConfig) *phone {
	t.Helper()
	baresip := rig.Need(t, "baresip", "baresip-core")
	c.Dir = filepath.Join(t.TempDir(), c.Name)
	if err := os.Mkdir(c.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c.Control, c.Media = rig.Port(t), rig.Ports(t, 20)
	c.MediaLast = c.Media + 19
	c.Pair, c.CA = certs.Pair, certs.CA
	c.Source = filepath.Join(c.Dir, "tone.wav")
	writeTone(t, c.Source, c.Tone)
	render(t, phoneFile, filepath.Join(c.Dir, "config"), c)
	render(t, phoneAccount, filepath.Join(c.Dir, "accounts"), c)
	render(t, template.Must(template.New("contacts").Parse("")), filepath.Join(c.Dir, "contacts"), c)

	p := &phone{t: t, dir: c.Dir, Process: rig.Spawn(t, c.Dir, c.Name, nil, baresip, "-f", c.Dir)}
	rig.Eventually(t, 10*time.Second, c.Name+" starts", func() string {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.Control))
		if err != nil {
			return err.Error()
		}
		p.conn = conn
		return ""
	})
	go p.listen(bufio.NewReader(p.conn))
	t.Cleanup(func() { p.conn.Close() })
	return p
}

func writeTone(t *testing.T, name string, hz float64) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := tone.WriteWAV(f, tone.Rate, tone.Take(tone.Sine(hz, toneLevel), time.Minute)); err != nil {
		t.Fatal(err)
	}
}

func render(t *testing.T, tmpl *template.Template, name string, data any) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := tmpl.Execute(f, data); err != nil {
		t.Fatal(err)
	}
}

// listen reads the control socket: netstrings of JSON, of which events are kept.
func (p *phone) listen(r *bufio.Reader) {
	for {
		size, err := r.ReadString(':')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(size, ":"))
		if err != nil || n > 1<<16 {
			return
		}
		data := make([]byte, n+1) // and the comma
		if _, err := io.ReadFull(r, data); err != nil {
			return
		}
		var e phoneEvent
		if json.Unmarshal(data[:n], &e) == nil && e.Type != "" {
			p.mu.Lock()
			p.events = append(p.events, e)
			p.mu.Unlock()
		}
	}
}

func (p *phone) command(name, params string) {
	p.t.Helper()
	data, err := json.Marshal(map[string]string{"command": name, "params": params, "token": name})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(p.conn, "%d:%s,", len(data), data); err != nil {
		p.t.Fatalf("%s: %s: %v", p.Name, name, err)
	}
}

func (p *phone) dial(uri string) { p.t.Helper(); p.command("dial", uri) }
func (p *phone) hangup()         { p.t.Helper(); p.command("hangup", "") }

// seen waits for an event of a call: CALL_ESTABLISHED, CALL_CLOSED.
func (p *phone) seen(kind string, patience time.Duration) phoneEvent {
	p.t.Helper()
	var found phoneEvent
	rig.Eventually(p.t, patience, p.Name+" reports "+kind, func() string {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, e := range p.events {
			if e.Type == kind {
				found = e
				return ""
			}
		}
		return fmt.Sprintf("%+v", p.events)
	})
	return found
}

// heard ends the phone, which completes its recordings, and returns what came
// in during its one call.
func (p *phone) heard() []int16 {
	p.t.Helper()
	_ = p.Stop(syscall.SIGTERM, 10*time.Second)
	files, err := filepath.Glob(filepath.Join(p.dir, "dump-*-dec.wav"))
	if err != nil || len(files) != 1 {
		p.t.Fatalf("%s left %d recordings of what it heard, want 1 (%v)", p.Name, len(files), err)
	}
	f, err := os.Open(files[0])
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
