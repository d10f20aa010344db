package conf

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"causeway/configs"
)

// entry is a key in the manual, active or commented out, with the facts in brackets above it.
type entry struct {
	line  int
	facts string
}

var (
	manualKey   = regexp.MustCompile(`^( *)(?:# )?( *)(- )?([a-z_]+):(?: |$)`)
	manualFacts = regexp.MustCompile(`\(((?:unit|values): .*; (?:restart|hot))\)$`)
)

// readManual finds the keys of a commented YAML file by their indentation. Number signs at the start of a line are
// taken away first: a section that is commented out as a whole is read like an active one.
func readManual(text string) (map[string]entry, error) {
	entries := map[string]entry{}
	type level struct {
		indent int
		path   string
	}
	var stack []level
	facts := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimPrefix(line, "# ")
		if m := manualFacts.FindStringSubmatch(line); m != nil {
			facts = m[1]
			continue
		}
		m := manualKey.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		indent := len(m[1]) + len(m[2]) + len(m[3])
		for len(stack) > 0 && stack[len(stack)-1].indent >= indent {
			stack = stack[:len(stack)-1]
		}
		path := m[4]
		if len(stack) > 0 {
			path = stack[len(stack)-1].path + "." + path
		}
		if before, twice := entries[path]; twice {
			return nil, fmt.Errorf("line %d: %s stands on line %d already", i+1, path, before.line)
		}
		entries[path] = entry{line: i + 1, facts: facts}
		stack = append(stack, level{indent, path})
		facts = ""
	}
	return entries, nil
}

// settings walks the types of Config and returns each key with its field; sections have no tag that says anything.
func settings(t reflect.Type, at reflect.StructTag, path string) map[string]reflect.StructField {
	all := map[string]reflect.StructField{}
	for _, field := range keysOf(t, at) {
		key, inner := join(path, field.Tag.Get("yaml")), field.Type
		all[key] = field
		if inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if _, isText := textTypeOf(inner); inner.Kind() == reflect.Struct && !isText {
			maps.Copy(all, settings(inner, field.Tag, key))
		}
	}
	return all
}

// isSection reports whether a key holds other keys and nothing of its own.
func isSection(field reflect.StructField) bool {
	t := field.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	_, isText := textTypeOf(t)
	return t.Kind() == reflect.Struct && !isText
}

// stated is what the manual has to say about a setting.
func stated(field reflect.StructField) []string {
	tag := field.Tag
	var want []string
	switch {
	case tag.Get("need") == "required":
		want = append(want, "; required; ")
	case tag.Get("derived") != "":
		want = append(want, "; default: "+tag.Get("derived")+"; ")
	case tag.Get("default") != "":
		want = append(want, "; default: "+tag.Get("default")+"; ")
	default:
		want = append(want, "; default: none; ")
	}
	if values := tag.Get("values"); values != "" {
		want = append(want, "values: "+strings.ReplaceAll(values, "|", " | ")+"; ")
	}
	if tag.Get("max") != "" {
		want = append(want, fmt.Sprintf("values: %s to %s; ", tag.Get("min"), tag.Get("max")))
	}
	if field.Type.Kind() == reflect.Bool {
		want = append(want, "values: true | false; ")
	}
	return want
}

// TestManualIsComplete proves that causeway.yaml holds every setting in its section, with its true default and
// values, and nothing else.
func TestManualIsComplete(t *testing.T) {
	manual, err := readManual(string(configs.Manual))
	if err != nil {
		t.Fatal(err)
	}
	known := settings(reflect.TypeFor[Config](), "", "")
	for key, field := range known {
		got, ok := manual[key]
		switch {
		case !ok:
			t.Errorf("the manual has no %s", key)
		case isSection(field):
		case got.facts == "":
			t.Errorf("line %d: no (unit; values; default; restart) above %s", got.line, key)
		default:
			for _, want := range stated(field) {
				if !strings.Contains(got.facts+"; ", want) {
					t.Errorf("line %d: %q is not in the facts of %s: %s", got.line, want, key, got.facts)
				}
			}
		}
	}
	for key, got := range manual {
		if _, ok := known[key]; !ok {
			t.Errorf("line %d: the manual explains %s, which is no setting", got.line, key)
		}
	}
}

// TestDefaultsAreThoseStated holds the values that an almost empty file leads to against the tags, and so against the
// manual.
func TestDefaultsAreThoseStated(t *testing.T) {
	cfg, _, err := parse(filepath.Join(certificateFolder(t), "c.yaml"), []byte(`relay: {realm: a, listen: [udp://192.0.2.1], credentials: {certificate: endpoint.pem, key: endpoint.key}}
mediation:
  pool: {listen: [tcp://192.0.2.10], peers: [192.0.2.0/24], next_hop: "sip:192.0.2.20;transport=tcp"}
  gateway: {listen: tcp://198.51.100.10, peer: sip:198.51.100.20, register: {aor: sip:4711@example.org}}
`), testHost(), nil)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for line := range strings.Lines(cfg.String()) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " = ")
		values[key] = value
	}
	compared := 0
	for key, field := range settings(reflect.TypeFor[Config](), "", "") {
		want := field.Tag.Get("default")
		if want == "" {
			continue
		}
		if span, err := time.ParseDuration(want); err == nil && field.Type == reflect.TypeFor[time.Duration]() {
			want = span.String()
		}
		if compared++; values[key] != want {
			t.Errorf("%s is %q, its default is stated as %q", key, values[key], want)
		}
	}
	if compared < 55 {
		t.Errorf("only %d defaults were compared", compared)
	}
}

// TestManualLoads loads causeway.yaml as it is shipped, and again with the relay section switched on.
func TestManualLoads(t *testing.T) {
	folder := t.TempDir()
	files := labFiles{dir: filepath.Join(folder, "tls"), now: today}
	if err := files.ensure(); err != nil {
		t.Fatal(err)
	}
	ca, err := files.load("ca")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mediation", "relay", "av", "issuer"} {
		if err := files.makeCertificate(name, ca); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := files.sign("pool-ca", files.template("pool authority", labAuthorityLife), nil); err != nil {
		t.Fatal(err)
	}
	shipped := string(configs.Manual)
	start, end := strings.Index(shipped, "# relay:\n"), strings.Index(shipped, "# The Mediation Server role")
	var active strings.Builder
	for line := range strings.Lines(shipped[start:end]) {
		active.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "#"), " "))
	}
	for name, text := range map[string]string{
		"as shipped": shipped,
		"with relay": shipped[:start] + active.String() + shipped[end:],
	} {
		cfg, warnings, err := parse(filepath.Join(folder, "causeway.yaml"), []byte(text), testHost(), nil)
		if err != nil || len(warnings) != 0 {
			t.Errorf("%s: %v, %v", name, err, warnings)
			continue
		}
		if cfg.Mediation == nil || len(cfg.Mediation.LocationProfile) != 5 || (cfg.Relay != nil) != (name == "with relay") {
			t.Errorf("%s: mediation %v, relay %v", name, cfg.Mediation, cfg.Relay)
		}
	}
}

// TestExamplesOfTheManual loads the pieces of configuration that stand in docs/manual.md, each in place of the gateway of
// a whole one.
func TestExamplesOfTheManual(t *testing.T) {
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "manual.md"))
	if err != nil {
		t.Fatal(err)
	}
	files := labFiles{dir: filepath.Join(t.TempDir(), "files"), now: today}
	if err := files.ensure(); err != nil {
		t.Fatal(err)
	}
	ca, err := files.load("ca")
	if err != nil {
		t.Fatal(err)
	}
	if err := files.makeCertificate("mediation", ca); err != nil {
		t.Fatal(err)
	}
	if _, err := files.sign("trunk-ca", files.template("trunk authority", labAuthorityLife), nil); err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(gateway:\n.*?)```").FindAllStringSubmatch(string(manual), -1)
	if len(examples) == 0 {
		t.Error("no example found")
	}
	for _, example := range examples {
		text := "mediation:\n  pool: {listen: [tcp://192.0.2.10], peers: [192.0.2.0/24], next_hop: \"sip:192.0.2.20;transport=tcp\", srtp: rejected}\n"
		for line := range strings.Lines(example[1]) {
			text += "  " + line
		}
		if _, warnings, err := parse(filepath.Join(files.dir, "c.yaml"), []byte(text), testHost(), nil); err != nil || len(warnings) != 0 {
			t.Errorf("%v %v in\n%s", err, warnings, text)
		}
	}
}
