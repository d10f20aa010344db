package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"causeway": func() { os.Exit(run(os.Args[1:], streams{os.Stdout, os.Stderr})) },
	})
}

// TestCommands drives the binary from outside: every script in testdata.
func TestCommands(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

// TestPortTaken: what cannot be bound ends serve with exit code 3 and the
// listener's name.
func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "c.yaml")
	text := fmt.Sprintf(`
state_dir: %s
admin: {listen: 127.0.0.1:0}
mediation:
  pool:
    listen: [tcp://%s]
    srtp: optional
    peers: [127.0.0.1]
    next_hop: "sip:127.0.0.1:9;transport=tcp"
  gateway:
    listen: tcp://127.0.0.2:16060
    peer: "sip:127.0.0.3:16060"
`, t.TempDir(), taken.Addr())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run([]string{"serve", "-c", file}, streams{&out, &errs}); code != exitHost {
		t.Errorf("exit %d, want %d", code, exitHost)
	}
	if want := "listen on tcp://" + taken.Addr().String(); !strings.Contains(errs.String(), want) {
		t.Errorf("standard error %q lacks %q", errs.String(), want)
	}
}
