package turn

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"causeway/test/rig"
)

// seen is what the page reports of one call; see testdata/page.html.
type seen struct {
	Words []string `json:"words"` // what came back over the data channel
	Ends  []struct {
		Audio  int       `json:"audio"`  // RTP packets received
		Lost   int       `json:"lost"`   // RTP packets, audio and video
		Frames int       `json:"frames"` // of video, decoded
		Local  candidate `json:"local"`
		Remote candidate `json:"remote"`
	} `json:"ends"`
	Log []string `json:"log"`
}

// candidate is one side of the pair that a peer connection uses.
type candidate struct {
	Type    string `json:"type"`
	Address string `json:"address"`
	Port    int    `json:"port"`
	// Protocol is that of the relayed address, Relay that between the browser and the relay.
	Protocol string `json:"protocol"`
	Relay    string `json:"relay"`
}

// TestChromium lets two peer connections of headless Chromium talk through the relay alone.
func TestChromium(t *testing.T) {
	s := start(t, setup{Hosts: []string{"127.0.0.1"}})
	browser := chromium(t)
	page := httptest.NewServer(http.FileServer(http.Dir("testdata")))
	defer page.Close()

	for _, c := range []struct{ name, url, relay string }{
		{"udp", fmt.Sprintf("turn:127.0.0.1:%d?transport=udp", s.Open), "udp"},
		{"tcp", fmt.Sprintf("turn:127.0.0.1:%d?transport=tcp", s.Open), "tcp"},
		{"tls", fmt.Sprintf("turns:127.0.0.1:%d?transport=tcp", s.Open), "tls"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, err := json.Marshal(map[string]string{"urls": c.url, "username": user, "credential": password})
			if err != nil {
				t.Fatal(err)
			}
			got := visitPage(t, browser, page.URL+"/page.html", fmt.Sprintf("call(%s)", server))
			if len(got.Words) != 50 || got.Words[49] != "echo of word 49" {
				t.Errorf("over the data channel came %q", got.Words)
			}
			if len(got.Ends) != 2 {
				t.Fatalf("the page reports %d ends", len(got.Ends))
			}
			for i, end := range got.Ends {
				for _, side := range []candidate{end.Local, end.Remote} {
					if side.Type != "relay" || side.Protocol != "udp" {
						t.Errorf("end %d uses a %s candidate by %s", i, side.Type, side.Protocol)
					}
					s.isRelayed(t, joinHost(side.Address, side.Port))
				}
				if end.Local.Relay != c.relay {
					t.Errorf("end %d reaches the relay by %q, want %s", i, end.Local.Relay, c.relay)
				}
				if end.Lost != 0 {
					t.Errorf("end %d lost %d packets", i, end.Lost)
				}
			}
		})
	}
}

// chromium starts a browser that accepts the test's authority, whose camera and microphone are made up, and which takes
// loopback for a network. It ends with the test.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path := rig.Need(t, "chromium", "chromium")
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, // it refuses to run as root otherwise
		chromedp.Flag("ignore-certificate-errors", true),
		chromedp.Flag("allow-loopback-in-peer-connection", true),
		chromedp.Flag("use-fake-device-for-media-stream", true),
		chromedp.Flag("use-fake-ui-for-media-stream", true),
	)
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(end)
	browser, closeBrowser := chromedp.NewContext(allocator)
	t.Cleanup(closeBrowser)
	if err := chromedp.Do(browser, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return browser
}

// visitPage opens a page in a tab of its own and returns what an asynchronous expression on it comes to.
func visitPage(t *testing.T, browser context.Context, url, expression string) seen {
	t.Helper()
	tab, closeTab := chromedp.NewContext(browser)
	defer closeTab()
	tab, giveUp := context.WithTimeout(tab, 30*time.Second)
	defer giveUp()
	if err := chromedp.Do(tab, chromedp.Navigate(url)); err != nil {
		t.Fatalf("open the page: %v", err)
	}
	got, err := chromedp.Run(tab, chromedp.Evaluate[seen](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("call: %v; the page saw %s", err, lastSeen(tab))
	}
	return got
}

// lastSeen is what the page had seen when the test gave up on it.
func lastSeen(tab context.Context) string {
	// The tab's own deadline is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tab), 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("JSON.stringify(seen)"))
	if err != nil {
		return err.Error()
	}
	return text
}
