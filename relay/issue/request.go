package issue

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
)

// request is what is asked for.
type request struct {
	User string `json:"user"`
	// LifetimeSeconds absent: the configured lifetime.
	LifetimeSeconds *int64 `json:"lifetime_seconds"`
	// Side is where the user is; absent: External.
	Side Side `json:"side"`
}

// refusal is an error with the status and the metric's reason that it stands for.
type refusal struct {
	status int
	reason reason
	err    error
}

func refuse(status int, r reason, format string, args ...any) *refusal {
	return &refusal{status, r, fmt.Errorf(format, args...)}
}

// serve answers one request. The client's certificate was verified in the handshake.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	who := clientName(r)
	grant, side, refused := s.grant(w, r)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store") // RFC 9111 section 5.2.2.5: a password is in it
	if refused != nil {
		s.counters.refused[refused.reason].Add(1)
		s.log.Info("credential refused", "asked_by", who, "address", r.RemoteAddr, "reason", refused.reason.String(), "error", refused.err)
		if refused.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", http.MethodPost) // RFC 9110 section 15.5.6
		}
		w.WriteHeader(refused.status)
		s.write(w, map[string]string{"error": refused.err.Error()})
		return
	}
	s.counters.issued.Add(1)
	if grant.Clamped {
		s.counters.clamped.Add(1)
	}
	s.log.Info("credential issued", "user", grant.User, "asked_by", who, "address", r.RemoteAddr,
		"key", s.options.Issuer.Signer.KeyID(), "expires", grant.Expires.UTC(), "clamped", grant.Clamped)
	s.write(w, grant.Answer(s.options.URIs[side]))
}

func (s *Server) write(w io.Writer, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Debug("answer not delivered", "error", err)
	}
}

// grant reads the request and issues what it asks for.
func (s *Server) grant(w http.ResponseWriter, r *http.Request) (Grant, Side, *refusal) {
	if r.URL.Path != "/credentials" {
		return Grant{}, "", refuse(http.StatusNotFound, reasonPath, "no %s here; POST to /credentials", r.URL.Path)
	}
	if r.Method != http.MethodPost {
		return Grant{}, "", refuse(http.StatusMethodNotAllowed, reasonMethod, "%s is not served; POST to /credentials", r.Method)
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return Grant{}, "", refuse(http.StatusUnsupportedMediaType, reasonContentType, "the request must have Content-Type: application/json")
	}
	asked, refused := readRequest(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if refused != nil {
		return Grant{}, "", refused
	}
	seconds := int64(0)
	if asked.LifetimeSeconds != nil {
		if seconds = *asked.LifetimeSeconds; seconds < 1 {
			return Grant{}, "", refuse(http.StatusBadRequest, reasonLifetime, "lifetime_seconds is %d; it must be 1 or more", seconds)
		}
	}
	grant, err := s.options.Issuer.Grant(s.now(), asked.User, seconds)
	if err != nil {
		return Grant{}, "", refuse(http.StatusBadRequest, reasonUser, "%w", err)
	}
	return grant, asked.Side, nil
}

func readRequest(body io.Reader) (request, *refusal) {
	asked := request{Side: External}
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&asked)
	if err == nil {
		// One object and nothing behind it: two would leave open which was meant.
		if _, err = decoder.Token(); err == nil || !errors.Is(err, io.EOF) {
			err = errors.Join(errors.New("more than one JSON object"), err)
		} else {
			err = nil
		}
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return request{}, refuse(http.StatusRequestEntityTooLarge, reasonSize, "the request has more than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return request{}, refuse(http.StatusBadRequest, reasonMalformed, `the request must be {"user": "NAME", "lifetime_seconds": N}: %w`, err)
	}
	if asked.Side != External && asked.Side != Internal {
		return request{}, refuse(http.StatusBadRequest, reasonMalformed, "side is %q; it must be %s or %s", asked.Side, External, Internal)
	}
	return asked, nil
}

// clientName is who asks: the subject of the certificate, or the first name in it when the subject is empty.
func clientName(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "" // not reached: the handshake asks for one
	}
	leaf := r.TLS.PeerCertificates[0]
	if name := leaf.Subject.String(); name != "" {
		return name
	}
	if len(leaf.DNSNames) > 0 {
		return leaf.DNSNames[0]
	}
	return "serial " + leaf.SerialNumber.String()
}
