package attack

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"causeway/test/rig"
)

// What all tests use, made once.
var (
	binaries rig.Binaries
	certs    rig.PKI
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	rig.WaitTogether()
	dir, err := os.MkdirTemp("", "causeway-attack-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binaries, err = rig.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, "attack: build causeway:", err)
		return 1
	}
	if certs, err = rig.NewPKI(filepath.Join(dir, "tls"), "127.0.0.1"); err != nil {
		fmt.Fprintln(os.Stderr, "attack: make certificates:", err)
		return 1
	}
	return m.Run()
}
