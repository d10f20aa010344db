package conf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretsStayInside(t *testing.T) {
	text := replace(t, "users: {alice: secret}", "users: {alice: hunter2, bob: swordfish}\n  rest_secrets: [opensesame, tellmore]")
	cfg, _, err := parse(filepath.Join(certificateFolder(t), "c.yaml"), []byte(text), testHost(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
		log := slog.New(h)
		log.Info("all", "config", cfg)
		log.Info("parts", "users", cfg.Relay.Users, "secret", cfg.Relay.RestSecrets[0], "secrets", cfg.Relay.RestSecrets, "relay", cfg.Relay)
	}
	encoded, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for way, out := range map[string]string{
		"log": logged.String(), "json": string(encoded), "String": cfg.String(),
		"%v": fmt.Sprintf("%v", *cfg.Relay), "%+v": fmt.Sprintf("%+v", *cfg.Relay), "%#v": fmt.Sprintf("%#v", *cfg.Relay),
		"%s": fmt.Sprintf("%s %s", cfg.Relay.Users, cfg.Relay.RestSecrets), "%q": fmt.Sprintf("%q", cfg.Relay.RestSecrets),
	} {
		for _, secret := range []string{"hunter2", "swordfish", "opensesame", "tellmore", "alice", "bob"} {
			if strings.Contains(out, secret) {
				t.Errorf("%s shows %q: %s", way, secret, out)
			}
		}
		if !strings.Contains(out, "redacted") {
			t.Errorf("%s does not say that something is hidden: %s", way, out)
		}
	}
}

func TestString(t *testing.T) {
	cfg, _, err := parse("c.yaml", []byte(`mediation:
  pool: {listen: [tcp://192.0.2.10], peers: [192.0.2.0/24], next_hop: "sip:192.0.2.20;transport=tcp", srtp: rejected}
  gateway: {listen: tcp://198.51.100.10, peer: sip:198.51.100.20}
  location_profile: [{name: one, pattern: ^0$, translation: '+1'}]
`), testHost(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const want = `state_dir = /var/lib/causeway
engine = auto
log.level = info
log.format = auto
admin.listen = 127.0.0.1:8480
mediation.pool.listen = [tcp://192.0.2.10:5060]
mediation.pool.media_address = 192.0.2.10
mediation.pool.srtp = rejected
mediation.pool.learning = same_ip
mediation.pool.peers = [192.0.2.0/24]
mediation.pool.next_hop = sip:192.0.2.20:5060;transport=tcp
mediation.pool.heartbeat.interval = 30s
mediation.pool.heartbeat.failures = 3
mediation.pool.heartbeat.successes = 1
mediation.pool.reliable_provisionals = true
mediation.pool.tls.certificate = 
mediation.pool.tls.key = 
mediation.pool.tls.ca = 
mediation.pool.tls.crl = 
mediation.pool.tls.clients = optional
mediation.gateway.listen = tcp://198.51.100.10:5060
mediation.gateway.peer = sip:198.51.100.20:5060;transport=tcp
mediation.gateway.media_address = 198.51.100.10
mediation.gateway.srtp = rejected
mediation.gateway.learning = same_ip
mediation.gateway.heartbeat.interval = 30s
mediation.gateway.heartbeat.failures = 3
mediation.gateway.heartbeat.successes = 1
mediation.gateway.reliable_provisionals = true
mediation.gateway.tls.certificate = 
mediation.gateway.tls.key = 
mediation.gateway.tls.ca = 
mediation.gateway.tls.crl = 
mediation.gateway.tls.name = 
mediation.resolver = 
mediation.ports = 60000-64000
mediation.max_calls = 1000
mediation.max_call_rate = 200
mediation.limits.connections = 1000
mediation.limits.unproven_connections = 100
mediation.limits.prove_within = 30s
mediation.limits.message_size = 65535
mediation.limits.headers = 200
mediation.session_timer.expires = 30m0s
mediation.session_timer.min = 1m30s
mediation.remove_plus_from_request_uri = false
mediation.qos_enabled = false
mediation.location_profile = [{name: one, pattern: ^0$, translation: +1}]
mediation.ring_timeout = 3m5s
mediation.media_timeout = 1m0s
mediation.media_timeout_needs_rtcp = false
quality.retention_days = 60
`
	if got := cfg.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
