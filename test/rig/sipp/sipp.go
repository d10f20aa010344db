// Package sipp runs SIPp as a peer: one process that makes or takes calls as its scenario says, and the log of what it
// sent and received. Debian's SIPp (3.6.1) has neither TLS nor SRTP.
package sipp

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"causeway/test/rig"
)

// Role is one SIPp: where it is, and how many calls it makes or takes.
type Role struct {
	Name      string
	IP        string
	Port      int
	Transport string        // SIPp's -t: "t1" one TCP connection, "u1" one UDP socket
	MediaPort int           // 0: some port
	Target    string        // HOST:PORT to call; empty waits for calls
	Calls     int           // 0: one
	Rate      int           // calls a second
	Quiet     bool          // keeps no log of messages
	Patience  time.Duration // ends by itself after this time at the latest; 0: 30 s
	More      []string      // further arguments
}

// Peer is a running SIPp and the log of its messages.
type Peer struct {
	*rig.Process
	t        testing.TB
	messages string // file
}

// Start runs SIPp with a scenario, which is XML, and, when it waits for calls, returns once it listens. When the test
// fails, what it complained about is shown.
func Start(t testing.TB, r Role, scenario string) *Peer {
	t.Helper()
	binary := rig.Need(t, "sipp", "sip-tester")
	dir := t.TempDir()
	file := filepath.Join(dir, "scenario.xml")
	if err := os.WriteFile(file, []byte(scenario), 0o600); err != nil {
		t.Fatal(err)
	}
	if r.Patience == 0 {
		r.Patience = 30 * time.Second
	}
	if r.MediaPort == 0 {
		r.MediaPort = rig.Ports(t, 4)
	}
	messages, complaints := filepath.Join(dir, "messages.log"), filepath.Join(dir, "errors.log")
	args := []string{
		"-sf", file, "-i", r.IP, "-p", fmt.Sprint(r.Port), "-t", r.Transport,
		"-mi", r.IP, "-mp", fmt.Sprint(r.MediaPort),
		"-m", fmt.Sprint(max(r.Calls, 1)), "-nostdin", "-timeout", fmt.Sprintf("%.0fs", r.Patience.Seconds()), "-timeout_error",
		"-trace_err", "-error_file", complaints,
	}
	if !r.Quiet {
		args = append(args, "-trace_msg", "-message_file", messages)
	}
	if r.Rate > 0 {
		args = append(args, "-r", fmt.Sprint(r.Rate), "-l", "5000")
	}
	args = append(args, r.More...)
	if r.Target != "" {
		args = append(args, r.Target)
	}
	p := &Peer{t: t, Process: rig.Spawn(t, dir, r.Name, nil, binary, args...), messages: messages}
	t.Cleanup(func() {
		if t.Failed() {
			errs, _ := os.ReadFile(complaints)
			t.Logf("%s complained:\n%s", r.Name, rig.Tail(string(errs), 3000))
		}
	})
	if r.Target == "" {
		awaitListener(t, r)
	}
	return p
}

// awaitListener waits until a waiting SIPp has its socket. Connecting to see would be a call to it, so the kernel's
// table is asked.
func awaitListener(t testing.TB, r Role) {
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

// Finished waits for the end of the scenario: all calls went as written.
func (p *Peer) Finished(patience time.Duration) {
	p.t.Helper()
	if err := p.Wait(patience); err != nil {
		p.t.Fatalf("%s: a call did not go as its scenario says: %v", p.Name, err)
	}
}

// Message is one that SIPp sent or received.
type Message struct {
	Received bool
	Text     string // with line feeds alone at the ends of lines
}

var messageHead = regexp.MustCompile(`(?m)^-{20,} .*\n(?:UDP|TCP) message (sent|received) .*\n\n`)

// Trace returns every message so far, in the order of the log.
func (p *Peer) Trace() []Message {
	p.t.Helper()
	data, err := os.ReadFile(p.messages)
	if err != nil {
		return nil // it has not sent or received anything yet
	}
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	heads := messageHead.FindAllStringSubmatchIndex(text, -1)
	var all []Message
	for i, h := range heads {
		end := len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		all = append(all, Message{Received: text[h[2]:h[3]] == "received", Text: text[h[1]:end]})
	}
	return all
}

// Got returns the first message received whose first line starts so.
func (p *Peer) Got(start string) Message {
	p.t.Helper()
	for _, m := range p.Trace() {
		if m.Received && strings.HasPrefix(m.Text, start) {
			return m
		}
	}
	p.t.Fatalf("%s received no %q", p.Name, start)
	return Message{}
}

// First is the request or status line.
func (m Message) First() string {
	line, _, _ := strings.Cut(m.Text, "\n")
	return line
}

// URI is the Request-URI.
func (m Message) URI() string {
	fields := strings.Fields(m.First())
	if len(fields) < 2 {
		return ""
	}
	return fields[1]
}

// Header returns the value of a header, or "".
func (m Message) Header(name string) string {
	head, _, _ := strings.Cut(m.Text, "\n\n")
	for line := range strings.Lines(head) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Body is what stands behind the headers.
func (m Message) Body() string {
	_, body, _ := strings.Cut(m.Text, "\n\n")
	return body
}
