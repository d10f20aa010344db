package conf

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// valid is a configuration without fault and without warning, but for what a host with other ports would say.
const valid = `state_dir: /var/lib/causeway
log: {level: info, format: auto}
admin:
  listen: 127.0.0.1:8480
relay:
  realm: example.org
  listen: [udp://192.0.2.30:3478, tcp://192.0.2.30:443]
  tls: {certificate: endpoint.pem, key: endpoint.key}
  ports: 50000-59999
  users: {alice: secret}
  peers: {allow: [127.0.0.0/8], deny: []}
  federation: legacy
mediation:
  pool:
    listen: [tls://192.0.2.10:5061]
    media_address: 192.0.2.10
    srtp: required
    peers: [192.0.2.0/24]
    next_hop: "sip:192.0.2.20:5061;transport=tls"
    tls:
      certificate: causeway.pem
      key: causeway.key
      ca: ca.pem
  gateway:
    listen: tcp://198.51.100.10:5060
    peer: "sip:198.51.100.20:5060"
    media_address: 198.51.100.10
  ports: 60000-64000
  max_calls: 1000
  location_profile:
    - {name: first, pattern: '^(\d{4})$', translation: '+1425555$1'}
    - name: second
      pattern: '^0$'
      translation: '+14255550100'
quality:
  retention_days: 60
`

// today is the time of the tests; certificates of the test folder are made for it.
var today = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// testHost is a host at today whose kernel gives out no port that valid needs.
func testHost() host {
	h := thisHost
	h.now = func() time.Time { return today }
	h.readFile = func(name string) ([]byte, error) {
		switch name {
		case ephemeralFile:
			return []byte("32768\t49999\n"), nil
		case reservedFile:
			return []byte("\n"), nil
		}
		return os.ReadFile(name)
	}
	return h
}

// certificateFolder returns a folder with the lab's certificates, in date today.
func certificateFolder(t testing.TB) string {
	t.Helper()
	files := labFiles{dir: filepath.Join(t.TempDir(), "files"), now: today}
	if err := files.ensure(); err != nil {
		t.Fatal(err)
	}
	return files.dir
}

// replace returns valid with one text replaced, which has to be there.
func replace(t testing.TB, old, replacement string) string {
	t.Helper()
	if strings.Count(valid, old) != 1 {
		t.Fatalf("%q is %d times in the valid configuration", old, strings.Count(valid, old))
	}
	return strings.Replace(valid, old, replacement, 1)
}

// marks takes the marks « out of text and returns the places they stood at, as "LINE:COL".
func marks(text string) (clean string, places []string) {
	for line, content := range slices.Collect(strings.SplitSeq(text, "\n")) {
		for {
			before, after, found := strings.Cut(content, "«")
			if !found {
				break
			}
			places = append(places, fmt.Sprintf("%d:%d", line+1, utf8.RuneCountInString(before)+1))
			content = before + after
		}
	}
	return strings.ReplaceAll(text, "«", ""), places
}
