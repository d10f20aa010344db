package turn

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"causeway/test/rig"
)

// TestAioice lets the TURN client of aioice, which is in Python, come by each transport that it has.
func TestAioice(t *testing.T) {
	t.Parallel()
	// Debian's own: a python3 that stands before it in PATH does not see Debian's packages.
	python := rig.Need(t, "/usr/bin/python3", "python3-aioice")
	if err := exec.Command(python, "-c", "import aioice").Run(); err != nil {
		t.Skip("aioice is not installed: apt-get install python3-aioice")
	}
	s := start(t, setup{Hosts: []string{"127.0.0.1"}})
	peer := reflector(t, "127.0.0.1")
	script, err := filepath.Abs(filepath.Join("testdata", "aioice_client.py"))
	if err != nil {
		t.Fatal(err)
	}
	relayedLine := regexp.MustCompile(`(?m)^relayed (\S+)$`)
	echoesLine := regexp.MustCompile(`(?m)^echoes (\d+)$`)
	for _, transport := range []string{"udp", "tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			const count = 100
			client := rig.Spawn(t, t.TempDir(), "aioice", nil, python, script, transport, s.TLS.CA, "127.0.0.1", strconv.Itoa(s.Open),
				user, password, "127.0.0.1", strconv.Itoa(peer), strconv.Itoa(count))
			if err := client.Wait(30 * time.Second); err != nil {
				t.Fatalf("aioice: %v", err)
			}
			relayed, echoes := relayedLine.FindStringSubmatch(client.Output()), echoesLine.FindStringSubmatch(client.Output())
			if relayed == nil || echoes == nil {
				t.Fatal("aioice did not come to its end")
			}
			s.isRelayed(t, relayed[1])
			if echoes[1] != strconv.Itoa(count) {
				t.Errorf("%s of %d messages came back", echoes[1], count)
			}
		})
	}
}
