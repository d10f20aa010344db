package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"causeway/bench/demo"
	"causeway/bench/ua"
	"causeway/internal/conf"
	"causeway/internal/life"
	"causeway/internal/obs"
	"causeway/qos/qoe"
	"causeway/qos/store"
	"causeway/relay/issue"
)

type demoCmd struct {
	Calls int           `default:"6" help:"Calls to place, half in each direction."`
	Talk  time.Duration `default:"5s" help:"How long each call lasts."`
	State string        `default:"./state" placeholder:"DIR" help:"State folder of the lab: certificates and records."`
}

// Validate checks what kong cannot know.
func (d *demoCmd) Validate() error {
	if d.Calls < 1 || d.Calls > 500 {
		return errors.New("--calls must be 1 to 500")
	}
	if d.Talk < time.Second || d.Talk > time.Minute {
		return errors.New("--talk must be 1s to 1m")
	}
	return nil
}

// Run serves the lab, places the calls and prints what was measured.
func (d *demoCmd) Run(std streams) error {
	cfg, err := conf.Lab(d.State)
	if err != nil {
		return fmt.Errorf("lab configuration: %w", err)
	}
	// The relay's TCP port 443 needs a privilege that a demonstration should not, and the external user comes by UDP.
	cfg.Relay.Listen = slices.DeleteFunc(cfg.Relay.Listen, func(l conf.Listen) bool { return l.Network != "udp" })
	log := obs.NewLogger(std.err, "warn", cfg.Log.Format)
	signals, stop := life.Signals(context.Background())
	defer stop()
	ctx, cancel := context.WithCancel(signals)
	defer cancel()
	node, err := newNode(cfg, log)
	if err != nil {
		return hostError(fmt.Errorf("%w (is a causeway running already?)", err))
	}
	served := make(chan error, 1)
	go func() { served <- node.group.Run(ctx) }()

	fmt.Fprintf(std.out, "Serving the lab: relay %s, pool %s, gateway side %s, admin http://%s/\n",
		cfg.Relay.Listen[0], cfg.Mediation.Pool.Listen[0], cfg.Mediation.Gateway.Listen, cfg.Admin.Listen)
	started := time.Now()
	calls, err := d.place(ctx, cfg, log, std.out)
	records := awaitRecords(node.spool.Dir(), started, calls)
	cancel()
	err = errors.Join(err, <-served)
	printCalls(std.out, calls, records)
	fmt.Fprintf(std.out, "\nRecords:  %s\nAdmin:    http://%s/ (metrics, healthz, readyz, api/v1/calls) while causeway serve runs\n",
		node.spool.Dir(), cfg.Admin.Listen)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	fmt.Fprintf(std.out, "All %d calls went through, and both ends heard each other.\n", len(calls))
	return nil
}

func (d *demoCmd) place(ctx context.Context, cfg *conf.Config, log *slog.Logger, out io.Writer) ([]demo.Call, error) {
	tlsConfig, err := labEndpointTLS(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	relay, err := externalUser(cfg.Relay, d.Talk)
	if err != nil {
		return nil, err
	}
	progress, finish := progressLine(out, d.Calls, d.Talk)
	defer finish()
	m := cfg.Mediation
	return demo.Run(ctx, demo.Config{
		Pool: m.Pool.Listen[0].Addr, Gateway: m.Gateway.Listen.Addr,
		PoolEnd:    fmt.Sprintf("tls://%s", netip.AddrPortFrom(netip.MustParseAddr(m.Pool.NextHop.Host), uint16(m.Pool.NextHop.Port))),
		GatewayEnd: fmt.Sprintf("tcp://%s", netip.AddrPortFrom(netip.MustParseAddr(m.Gateway.Peer.Host), uint16(m.Gateway.Peer.Port))),
		External:   "tls://127.0.0.1:0", Relay: relay,
		PoolTLS: tlsConfig, Calls: d.Calls, Talk: d.Talk, Progress: progress, Log: log,
	})
}

// externalUser is how a user from outside reaches the Mediation Server: through the relay, with a credential as the A/V
// authentication issues it.
func externalUser(cfg *conf.Relay, talk time.Duration) (*ua.Relay, error) {
	signers, err := issue.LoadSigners(cfg.Credentials)
	if err != nil {
		return nil, fmt.Errorf("lab credentials: %w", err)
	}
	credential, err := signers[0].Issue(time.Now(), "external", talk+time.Hour)
	if err != nil {
		return nil, fmt.Errorf("lab credentials: %w", err)
	}
	return &ua.Relay{Server: cfg.Listen[0].Addr, Username: credential.Username, Password: credential.Password}, nil
}

// labEndpointTLS is the identity that the lab made for the pool's end.
func labEndpointTLS(stateDir string) (*tls.Config, error) {
	dir := filepath.Join(stateDir, "lab")
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "endpoint.pem"), filepath.Join(dir, "endpoint.key"))
	if err != nil {
		return nil, fmt.Errorf("lab certificate: %w", err)
	}
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("lab CA: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// progressLine shows how far the calls are: a bar on a terminal, a line per
// ended call otherwise.
func progressLine(out io.Writer, calls int, talk time.Duration) (update func(ended, total int), finish func()) {
	file, ok := out.(*os.File)
	if info, err := os.Stdout.Stat(); !ok || file != os.Stdout || err != nil || info.Mode()&os.ModeCharDevice == 0 {
		fmt.Fprintf(out, "Placing %d calls of %s ...\n", calls, talk)
		return func(ended, total int) { fmt.Fprintf(out, "  %d of %d calls ended\n", ended, total) }, func() {}
	}
	p := mpb.New(mpb.WithOutput(out), mpb.WithWidth(40))
	bar := p.AddBar(int64(calls), mpb.PrependDecorators(decor.Name("calls "), decor.CountersNoUnit("%d of %d")),
		mpb.AppendDecorators(decor.Elapsed(decor.ET_STYLE_GO)))
	return func(ended, _ int) { bar.SetCurrent(int64(ended)) }, func() {
		if !bar.Completed() {
			bar.Abort(false)
		}
		p.Wait()
	}
}

// awaitRecords reads the calls' records from the spool, which the server
// writes a moment after a call has ended.
func awaitRecords(dir string, since time.Time, calls []demo.Call) map[string]*qoe.Record {
	records := map[string]*qoe.Record{}
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		for r, err := range store.Read(dir, since) {
			if err == nil {
				for _, id := range r.CallIDs {
					records[id] = r
				}
			}
		}
		missing := slices.ContainsFunc(calls, func(c demo.Call) bool { return c.CallID != "" && records[c.CallID] == nil })
		if !missing {
			break
		}
	}
	return records
}

func printCalls(out io.Writer, calls []demo.Call, records map[string]*qoe.Record) {
	if len(calls) == 0 {
		return
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CALL\tLEG\tFROM -> TO\tCODEC\tMEDIA\tSENT\tRECEIVED\tLOST\tJITTER\tDELAY TO HERE\tHEARD")
	for i, c := range calls {
		r := records[c.CallID]
		for _, leg := range []struct {
			name string
			end  demo.End
		}{{"pool", c.Pool}, {"gateway", c.Gateway}} {
			party := "-> " + c.To
			switch {
			case (leg.name == "pool") == (c.Direction == "pool_to_gateway"):
				party = c.From + " ->"
			case r != nil:
				party = "-> " + demo.UserOf(r.Sent.RequestURI)
			}
			s := leg.end.Stats
			media, name := "RTP", leg.name
			if s.SRTP != "" {
				media = "SRTP " + strings.TrimPrefix(s.SRTP, "AES_CM_128_")
			}
			if c.External && leg.name == "pool" {
				name, media = "external", media+" by relay "+s.Local
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%.0f dBFS\n", i+1, name, party, s.Codec, media,
				s.Sent, s.Received, s.Lost, ms(s.JitterMS), delay(s.Delay), leg.end.Level)
		}
	}
	_ = w.Flush()
	printLegs(out, calls, records)
}

// printLegs is the server's own view, from the records.
func printLegs(out io.Writer, calls []demo.Call, records map[string]*qoe.Record) {
	fmt.Fprintln(out, "\nAs causeway measured them (the records):")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CALL\tLEG\tRESULT\tENDED BY\tPACKETS IN\tLOST\tJITTER\tROUND TRIP\tPACKETS OUT")
	for i, c := range calls {
		r := records[c.CallID]
		if r == nil {
			fmt.Fprintf(w, "%d\t-\tno record\n", i+1)
			continue
		}
		for _, l := range r.Legs {
			lost := "unknown"
			if l.Receive.Lost != nil {
				lost = fmt.Sprint(*l.Receive.Lost)
			}
			fmt.Fprintf(w, "%d\t%s\t%d %s\t%s\t%d\t%s\t%s\t%s\t%d\n", i+1, l.Side, r.Code, r.Reason, r.EndedBy,
				l.Receive.Packets, lost, ms(l.Receive.JitterMS), ms(l.Send.RoundTripMS), l.Send.Packets)
		}
	}
	_ = w.Flush()
}

func ms(v *float64) string {
	if v == nil {
		return "unknown"
	}
	return fmt.Sprintf("%.2f ms", *v)
}

func delay(d *ua.Delay) string {
	if d == nil {
		return "unknown"
	}
	return fmt.Sprintf("%.2f ms (max %.2f)", d.AvgMS, d.MaxMS)
}
