package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/template"
	"time"

	"causeway/test/rig"
)

// scenario is what the templates in testdata/sipp are filled with.
type scenario struct {
	File string // testdata/sipp/FILE.xml

	RequestURI, From, To string
	Payloads             string   // of the caller's offer; "0 8 101" when empty
	SDP                  []string // media lines of the caller's offer instead of the usual
	Code                 int      // of a refusal
	Phrase               string
	Headers              []string // of a refusal
	Ring, Hold           int      // ms
	Hangup               bool     // the gateway hangs up, not the caller
}

// role is one SIPp: where it is, and how many calls it makes or takes.
type role struct {
	Name      string
	IP        string
	Port      int
	Transport string // SIPp's -t: "t1" one TCP connection, "u1" one UDP socket
	Target    string // HOST:PORT to call; empty waits for calls
	Calls     int
	Rate      int // calls a second
	Quiet     bool
	Patience  time.Duration // ends by itself after this time at the latest
}

// sipp is a running SIPp and the log of its messages.
type sipp struct {
	*rig.Process
	t        *testing.T
	messages string // file
}

func startSIPp(t *testing.T, r role, s scenario) *sipp {
	t.Helper()
	binary := rig.Need(t, "sipp", "sip-tester")
	if s.Payloads == "" {
		s.Payloads = "0 8 101"
	}
	if s.From == "" {
		s.From = `"+1 Caller" <sip:+14255550100@example.com>`
	}
	if s.RequestURI == "" {
		s.RequestURI = "sip:+14255550123@" + r.Target
	}
	if s.To == "" {
		s.To = "<" + s.RequestURI + ">"
	}
	dir := filepath.Join(t.TempDir(), r.Name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "scenario.xml")
	tmpl, err := template.ParseFiles(filepath.Join("testdata", "sipp", s.File+".xml"))
	if err != nil {
		t.Fatal(err)
	}
	render(t, tmpl, file, s)

	if r.Patience == 0 {
		r.Patience = 30 * time.Second
	}
	messages := filepath.Join(dir, "messages.log")
	args := []string{
		"-sf", file, "-i", r.IP, "-p", fmt.Sprint(r.Port), "-t", r.Transport,
		"-mi", r.IP, "-mp", fmt.Sprint(rig.Ports(t, 4)),
		"-m", fmt.Sprint(max(r.Calls, 1)), "-nostdin", "-timeout", fmt.Sprintf("%.0fs", r.Patience.Seconds()), "-timeout_error",
		"-trace_err", "-error_file", filepath.Join(dir, "errors.log"),
	}
	if !r.Quiet {
		args = append(args, "-trace_msg", "-message_file", messages)
	}
	if r.Rate > 0 {
		args = append(args, "-r", fmt.Sprint(r.Rate), "-l", "5000")
	}
	if r.Target != "" {
		args = append(args, r.Target)
	}
	p := &sipp{t: t, Process: rig.Spawn(t, dir, r.Name, nil, binary, args...), messages: messages}
	t.Cleanup(func() {
		if t.Failed() {
			errs, _ := os.ReadFile(filepath.Join(dir, "errors.log"))
			t.Logf("%s complained:\n%s", r.Name, rig.Tail(string(errs), 3000))
		}
	})
	if r.Target == "" {
		awaitListener(t, r)
	}
	return p
}

// awaitListener waits until a waiting SIPp has its socket. Connecting to see
// would be a call to it, so the kernel's table is asked.
func awaitListener(t *testing.T, r role) {
	t.Helper()
	table := map[byte]string{'t': "/proc/net/tcp", 'u': "/proc/net/udp"}[r.Transport[0]]
	var a, b, c, d int
	if _, err := fmt.Sscanf(r.IP, "%d.%d.%d.%d", &a, &b, &c, &d); err != nil {
		t.Fatal(err)
	}
	local := fmt.Sprintf(" %02X%02X%02X%02X:%04X ", d, c, b, a, r.Port)
	rig.Eventually(t, 10*time.Second, r.Name+" listens", func() string {
		data, err := os.ReadFile(table)
		if err != nil {
			return err.Error()
		}
		if !strings.Contains(string(data), local) {
			return "not in " + table
		}
		return ""
	})
}

// finished waits for the end of the scenario: all calls went as written.
func (p *sipp) finished(patience time.Duration) {
	p.t.Helper()
	if err := p.Wait(patience); err != nil {
		p.t.Fatalf("%s: a call did not go as its scenario says: %v", p.Name, err)
	}
}

// message is one that SIPp sent or received.
type message struct {
	received bool
	text     string
}

var messageHead = regexp.MustCompile(`(?m)^-{20,} .*\n(?:UDP|TCP) message (sent|received) .*\n\n`)

// trace returns every message so far, in the order of the log.
func (p *sipp) trace() []message {
	p.t.Helper()
	data, err := os.ReadFile(p.messages)
	if err != nil {
		return nil // it has not sent or received anything yet
	}
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	heads := messageHead.FindAllStringSubmatchIndex(text, -1)
	var all []message
	for i, h := range heads {
		end := len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		all = append(all, message{received: text[h[2]:h[3]] == "received", text: text[h[1]:end]})
	}
	return all
}

// got returns the first message received whose first line starts so.
func (p *sipp) got(start string) message {
	p.t.Helper()
	for _, m := range p.trace() {
		if m.received && strings.HasPrefix(m.text, start) {
			return m
		}
	}
	p.t.Fatalf("%s received no %q", p.Name, start)
	return message{}
}

// first is the request or status line.
func (m message) first() string {
	line, _, _ := strings.Cut(m.text, "\n")
	return line
}

// uri is the Request-URI.
func (m message) uri() string {
	fields := strings.Fields(m.first())
	if len(fields) < 2 {
		return ""
	}
	return fields[1]
}

// header returns the value of a header, or "".
func (m message) header(name string) string {
	head, _, _ := strings.Cut(m.text, "\n\n")
	for line := range strings.Lines(head) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (m message) body() string {
	_, body, _ := strings.Cut(m.text, "\n\n")
	return body
}
