package turn

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
	certs    rig.PKI // of the relay's TLS and DTLS listeners
	issuer   rig.PKI // of A/V authentication
)

// Control run; see the package's comment.
var coturnUnderTest = os.Getenv("TURN_UNDER_TEST") == "coturn"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == visitorCommand {
		os.Exit(visit(os.Args[2:]))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	flag.Parse()
	rig.WaitTogether()
	dir, err := os.MkdirTemp("", "causeway-turn-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "turn:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if !coturnUnderTest {
		if binaries, err = rig.Build(dir); err != nil {
			fmt.Fprintln(os.Stderr, "turn: build causeway:", err)
			return 1
		}
	}
	if certs, err = rig.NewPKI(filepath.Join(dir, "tls"), "127.0.0.1", "::1"); err != nil {
		fmt.Fprintln(os.Stderr, "turn: make certificates:", err)
		return 1
	}
	if issuer, err = rig.NewPKI(filepath.Join(dir, "issuer")); err != nil {
		fmt.Fprintln(os.Stderr, "turn: make certificates:", err)
		return 1
	}
	return m.Run()
}
