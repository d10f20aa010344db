package turn

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"causeway/test/rig"
)

// TestJuice lets libjuice, by two peer connections of libdatachannel, come through the relay. It is the one client at
// hand that shares no code with causeway and reads the security features of RFC 8489 in a nonce: it sends USERHASH in
// place of its name. It was meant to speak the whole SHA-256 set; but libjuice 1.7 takes an algorithm out of
// PASSWORD-ALGORITHMS only where it is the server, and as a client stays with MD5 and SHA-1, which the RFC has a server
// accept (section 9.2.4). For the set itself see TestSHA256Set. A tap in between sees what is spoken.
func TestJuice(t *testing.T) {
	t.Parallel()
	node := rig.Need(t, "node", "nodejs")
	modules, err := filepath.Abs(filepath.Join("..", "..", ".tools", "juice", "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(modules, "node-datachannel")); err != nil {
		t.Skip("node-datachannel is not installed: scripts/setup-peers")
	}
	script, err := filepath.Abs(filepath.Join("testdata", "juice", "call.cjs"))
	if err != nil {
		t.Fatal(err)
	}

	// Without users by secret or certificate: USERHASH is offered only where all users are static.
	s := start(t, setup{Hosts: []string{"127.0.0.1"}, StaticAlone: true})
	p := newTap(t, joinHost("127.0.0.1", s.Open))
	host, port, _ := strings.Cut(p.front.LocalAddr().String(), ":")
	call := rig.Spawn(t, t.TempDir(), "juice", []string{"NODE_PATH=" + modules}, node, script, host, port, user, password)
	if err := call.Wait(30 * time.Second); err != nil {
		t.Fatalf("juice: %v", err)
	}
	t.Run("talks", func(t *testing.T) { juiceTalked(t, call.Output()) })
	t.Run("through the relay", func(t *testing.T) { relayedChecks(t, p) })
	t.Run("by userhash", func(t *testing.T) {
		onlyCauseway(t)
		spokeUserhash(t, p)
	})
}

// juiceTalked reads what call.cjs printed: one line of JSON between those of its log.
func juiceTalked(t *testing.T, output string) {
	t.Helper()
	var told struct{ Words []string }
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "{") {
			if err := json.Unmarshal([]byte(line), &told); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
		}
	}
	if len(told.Words) != 50 || told.Words[49] != "echo of word 49" {
		t.Errorf("over the data channel came %q", told.Words)
	}
}

// relayedChecks fails the test unless both ends had allocations and the relay carried what they sent each other. What
// comes later may bypass it: each end was told the other's relayed address alone, but libjuice sends from its own
// socket, too, and learns the other's own from the checks. Both are on one machine here.
func relayedChecks(t *testing.T, p *tap) {
	t.Helper()
	for _, c := range []struct {
		method stun.Method
		class  stun.MessageClass
		least  int
	}{
		{stun.MethodAllocate, stun.ClassSuccessResponse, 2},
		{stun.MethodCreatePermission, stun.ClassSuccessResponse, 1},
		{stun.MethodSend, stun.ClassIndication, 1},
		{stun.MethodData, stun.ClassIndication, 1},
	} {
		if n := len(p.passed(c.method, c.class)); n < c.least {
			t.Errorf("%v %v: %d passed, want at least %d", c.method, c.class, n, c.least)
		}
	}
}

// spokeUserhash fails the test unless every request that carried a proof named its user by a hash alone.
func spokeUserhash(t *testing.T, p *tap) {
	t.Helper()
	want := sha256.Sum256([]byte(user + ":" + realm)) // RFC 8489 section 14.4
	proven := 0
	for _, m := range p.passed(stun.MethodAllocate, stun.ClassRequest) {
		if !m.Contains(stun.AttrNonce) {
			continue // the first, which asks for a nonce
		}
		proven++
		got, err := m.Get(attrUserhash)
		if err != nil || !bytes.Equal(got, want[:]) || m.Contains(stun.AttrUsername) {
			t.Errorf("USERHASH %x, %v, want %x and no name: %v", got, err, want, m)
		}
	}
	if answers := len(p.passed(stun.MethodAllocate, stun.ClassSuccessResponse)); proven < 2 || answers < 2 {
		t.Errorf("%d proven requests and %d allocations passed, want two of each", proven, answers)
	}
}
