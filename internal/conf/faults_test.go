package conf

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// A fault test replaces a text of the valid configuration. The mark « stands where each error has to point; want holds
// the texts of the errors in that order.
type faultTest struct {
	name        string
	old, broken string
	want        []string
	more        []string // further texts to replace, each with its replacement behind it
}

func fault(name, old, broken, want string) faultTest {
	return faultTest{name: name, old: old, broken: broken, want: []string{want}}
}

func checkFaults(t *testing.T, tests []faultTest) {
	t.Helper()
	folder := certificateFolder(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			edited := strings.NewReplacer(tt.more...).Replace(replace(t, tt.old, tt.broken))
			text, places := marks(edited)
			_, _, err := parse(filepath.Join(folder, "c.yaml"), []byte(text), testHost(), nil)
			var want []string
			for i, w := range tt.want {
				want = append(want, fmt.Sprintf("%s/c.yaml:%s: %s", folder, places[i], strings.ReplaceAll(w, "FOLDER", folder)))
			}
			if len(places) != len(tt.want) {
				t.Fatalf("%d marks for %d errors", len(places), len(tt.want))
			}
			got := "no error"
			if err != nil {
				got = err.Error()
			}
			if got != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
			}
		})
	}
}

// checkWarnings is checkFaults for what is doubtful and loads all the same.
func checkWarnings(t *testing.T, tests []faultTest) {
	t.Helper()
	folder := certificateFolder(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text, places := marks(strings.NewReplacer(tt.more...).Replace(replace(t, tt.old, tt.broken)))
			_, warnings, err := parse(filepath.Join(folder, "c.yaml"), []byte(text), testHost(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var got, want []string
			for _, w := range warnings {
				got = append(got, w.String())
			}
			for i := range tt.want {
				want = append(want, fmt.Sprintf("%s/c.yaml:%s: %s", folder, places[i], strings.ReplaceAll(tt.want[i], "FOLDER", folder)))
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func TestShapeFaults(t *testing.T) {
	checkFaults(t, []faultTest{
		fault("misspelt key", "  max_calls:", "  «max_call:",
			"unknown key mediation.max_call; did you mean mediation.max_calls?"),
		fault("hyphens for underscores", "  max_calls:", "  «Max-Calls:",
			"unknown key mediation.Max-Calls; did you mean mediation.max_calls?"),
		fault("key of another section", "quality:\n", "quality:\n  «max_calls: 5\n",
			"unknown key quality.max_calls; it belongs in mediation"),
		fault("key of two other sections", "quality:\n", "quality:\n  «srtp: required\n",
			"unknown key quality.srtp; it belongs in mediation.pool or mediation.gateway"),
		fault("key of the top level", "quality:\n", "quality:\n  «state_dir: /\n",
			"unknown key quality.state_dir; it belongs in the top level"),
		fault("key of nowhere", "quality:\n", "quality:\n  «colour: red\n",
			"unknown key quality.colour; remove it, the keys here are retention_days"),
		fault("duplicate key", "  max_calls: 1000\n", "  max_calls: 1000\n  «max_calls: 1\n",
			"mediation.max_calls stands twice, first on line 29; remove one of them"),
		fault("duplicate user", "users: {alice: secret}", "users: {alice: secret, bob: x, «alice: other}",
			"relay.users.alice stands twice, first on line 10; remove one of them"),
		fault("duplicate section", "quality:\n", "«log:\n  level: warn\nquality:\n",
			"log stands twice, first on line 2; remove one of them"),
		fault("number for a key", "quality:\n", "quality:\n  «1: 2\n",
			"1 is no key that belongs here; write a plain name, in quotes when it looks like a number"),
		fault("merge key", "quality:\n", "quality:\n  «<<: {retention_days: 2}\n",
			"<< is no key that belongs here; write a plain name, in quotes when it looks like a number"),
		fault("text for a number", "max_calls: 1000", "max_calls: «many",
			"mediation.max_calls is text; it must be a whole number from 1 to 32000"),
		fault("quoted number for a number", "max_calls: 1000", "max_calls: «\"1000\"",
			"mediation.max_calls is text; it must be a whole number from 1 to 32000"),
		fault("fraction", "max_calls: 1000", "max_calls: «1.5",
			"mediation.max_calls is a number; it must be a whole number from 1 to 32000"),
		fault("number too low", "max_calls: 1000", "max_calls: «0",
			"mediation.max_calls is 0; it must be a whole number from 1 to 32000, in decimal"),
		fault("number too high", "retention_days: 60", "retention_days: «3651",
			"quality.retention_days is 3651; it must be a whole number from 1 to 3650, in decimal"),
		fault("number beyond all bounds", "max_calls: 1000", "max_calls: «99999999999999999999",
			"mediation.max_calls is text; it must be a whole number from 1 to 32000"),
		fault("octal", "max_calls: 1000", "max_calls: «0o17",
			"mediation.max_calls is 0o17; it must be a whole number from 1 to 32000, in decimal"),
		fault("list for a number", "max_calls: 1000", "max_calls: «[1000]",
			"mediation.max_calls is a list; it must be a whole number from 1 to 32000"),
		fault("text for a bool", "  max_calls: 1000", "  qos_enabled: «yes\n  max_calls: 1000",
			"mediation.qos_enabled is text; it must be true or false"),
		fault("number for a bool", "  max_calls: 1000", "  qos_enabled: «1\n  max_calls: 1000",
			"mediation.qos_enabled is a number; it must be true or false"),
		fault("number for text", "realm: example.org", "realm: «1",
			"relay.realm is a number to YAML and not text; put it in quotes"),
		fault("bool for text", "realm: example.org", "realm: «true",
			"relay.realm is true or false to YAML and not text; put it in quotes"),
		fault("number for a translation", "translation: '+14255550100'", "translation: «+14255550100",
			"mediation.location_profile[1].translation is a number to YAML and not text; put it in quotes"),
		fault("secret is not printed", "users: {alice: secret}", "users: {alice: «123456}",
			"relay.users.alice is a number to YAML and not text; put it in quotes"),
		fault("section for text", "realm: example.org", "realm: «{a: b}",
			"relay.realm is a section; it must be text"),
		fault("text for a section", "log: {level: info, format: auto}", "log: «info",
			"log is text; it must be a section with keys"),
		fault("list for a section", "quality:\n  retention_days: 60", "quality:\n  «- retention_days: 60",
			"quality is a list; it must be a section with keys"),
		fault("text for a list", "peers: [192.0.2.0/24]", "peers: «192.0.2.0/24",
			"mediation.pool.peers is text; it must be a list, in brackets or with dashes"),
		fault("text for users", "users: {alice: secret}", "users: «alice",
			"relay.users is text; it must be names with passwords"),
		fault("no value", "max_calls: 1000", "«max_calls:",
			"mediation.max_calls has no value; give one or remove the key"),
		fault("empty section", "log: {level: info, format: auto}", "«log:",
			"log has no value; give one or remove the key"),
		fault("empty item", "peers: [192.0.2.0/24]", "peers:\n      - 192.0.2.0/24\n      -«",
			"mediation.pool.peers[1] has no value; give one or remove the key"),
		fault("anchor", "max_calls: 1000", "max_calls: «&x 1000",
			"mediation.max_calls is an anchor or a reference, which are not supported here; it must be a whole number from 1 to 32000"),
		fault("tag", "realm: example.org", "realm: «!!str example.org",
			"relay.realm is a tag, which is not supported here; it must be text"),
		fault("second document", "quality:\n", "«---\nquality:\n",
			"a second document starts here; a configuration is one document, so remove the line ---"),
		fault("open brace", "{level: info, format: auto}\n", "{level: info, format: auto\n«",
			"is not valid YAML: ',' or '}' must be specified; look at the indentation, quotes and brackets here"),
	})
}

func TestMissingKeys(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"section", "mediation:\n  «pool: {listen: [tcp://192.0.2.10], peers: [192.0.2.0/24], srtp: rejected}\n" +
			"  gateway: {listen: tcp://198.51.100.10, peer: sip:198.51.100.20}\n",
			"mediation.pool.next_hop is missing; add the key next_hop"},
		{"role", "«mediation: {}\n", "mediation.gateway is missing; add the key gateway"},
		{"list item", "mediation:\n  location_profile:\n    - «name: a\n      pattern: b\n",
			"mediation.location_profile[0].translation is missing; add the key translation"},
		{"relay", "relay: {«users: {a: b}}\n", "relay.realm is missing; add the key realm"},
	} {
		text, places := marks(tt.text)
		if tt.name == "relay" {
			places = []string{"1:1"} // the section's key
		}
		_, _, err := parse("c.yaml", []byte(text), testHost(), nil)
		want := "c.yaml:" + places[0] + ": " + tt.want
		if err == nil || !strings.Contains(err.Error()+"\n", want+"\n") {
			t.Errorf("%s: want %q in\n%v", tt.name, want, err)
		}
	}
}

func TestWholeFileFaults(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "c.yaml:1:1: the configuration is empty; give it a relay or a mediation section"},
		{"comments alone", "# nothing\n", "c.yaml:1:1: the configuration is empty; give it a relay or a mediation section"},
		{"no role", "engine: auto\n", "c.yaml:1:1: no role would run; add a relay or a mediation section"},
		{"list", "- a\n", "c.yaml:1:1: the configuration is a list; it must be a section with keys"},
		{"text", "hello\n", "c.yaml:1:1: the configuration is text; it must be a section with keys"},
		{"too large", strings.Repeat("# padding\n", maxFileSize/10+1), "c.yaml:1:1: the file has 1048580 bytes, more than 1048576; give the configuration file"},
		{"not text", "\x00\x01\xff\xfe", ""},
		{"tabs", "admin:\n\tlisten: 127.0.0.1:1\n", ""},
	} {
		_, _, err := parse("c.yaml", []byte(tt.text), testHost(), nil)
		if err == nil || tt.want != "" && err.Error() != tt.want {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		if all, ok := errors.AsType[Errors](err); !ok || len(all) != 1 {
			t.Errorf("%s: want one fault, got %v", tt.name, err)
		}
	}
}

// TestAllFaultsAreReported has faults in every section at once.
func TestAllFaultsAreReported(t *testing.T) {
	text, places := marks(`engine: «fast
log: {level: «loud}
admin: {listen: «localhost}
relay:
  realm: example.org
  listen: [«http://192.0.2.30]
  users: {a: b}
  federation: «open
mediation:
  pool: {listen: [«tls://pool.example.org:5061], peers: [«10.0.0.1/8], next_hop: «pool, srtp: «never}
  gateway: {listen: tcp://198.51.100.10, peer: «"sips:gw"}
  ports: «64000-60000
  location_profile:
    - {name: x, pattern: «'(', translation: y}
  ring_timeout: «185
«quallity: {}
`)
	_, _, err := parse("c.yaml", []byte(text), testHost(), nil)
	all, ok := errors.AsType[Errors](err)
	if !ok {
		t.Fatal(err)
	}
	var got []string
	for _, e := range all {
		got = append(got, fmt.Sprintf("%d:%d", e.Line, e.Column))
	}
	if strings.Join(got, " ") != strings.Join(places, " ") {
		t.Errorf("errors at %v, want %v:\n%v", got, places, err)
	}
}
