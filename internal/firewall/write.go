package firewall

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"

	"causeway/internal/conf"
)

// Write writes the passages of a configuration as one file that nft -f takes: the table in comments, with what has to
// be known besides, and the rules. name is that of the configuration.
func Write(w io.Writer, name string, c *conf.Config) error {
	passages := Passages(c)
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s: what firewalls have to let through.\n#\n", name)
	writeTable(&b, passages)
	b.WriteString("#\n")
	for _, note := range notes(c) {
		for _, line := range wrap(note, 116) {
			fmt.Fprintf(&b, "# %s\n", line)
		}
	}
	b.WriteString("\n")
	writeRules(&b, passages)
	_, err := w.Write(b.Bytes())
	return err
}

func writeTable(b *bytes.Buffer, passages []Passage) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "# SIDE\tDIRECTION\tPROTOCOL\tHERE\tTHERE\tPURPOSE")
	for _, p := range passages {
		there := formatPrefixes(p.There)
		if p.Who != "" {
			there = p.Who
		}
		fmt.Fprintf(t, "# %s\t%s\t%s\t%s\t%s\t%s\n", p.Side, p.Direction, strings.ToUpper(p.Protocol),
			place(address(p.Here), p.HerePorts), place(there, p.TherePorts), p.Purpose)
	}
	_ = t.Flush() // into memory
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// place writes hosts and ports for people.
func place(hosts string, ports conf.PortRange) string {
	switch {
	case hosts == "" && ports == anyPort:
		return "any"
	case hosts == "":
		return "any port " + formatPorts(ports)
	case ports == anyPort:
		return hosts
	default:
		return hosts + " port " + formatPorts(ports)
	}
}

// notes say what the table cannot.
func notes(c *conf.Config) []string {
	list := []string{
		"HERE is this host, THERE the other end; DIRECTION is that of the first packet. What answers it has to pass too, and so " +
			"have the ICMP errors about it: a firewall that follows UDP by state does that by itself.",
	}
	r := c.Relay
	if r == nil {
		return list
	}
	switch r.Federation {
	case conf.FederationClosed:
		list = append(list, fmt.Sprintf("federation is closed: ports %s stay shut toward the external side.", r.Ports))
	case conf.FederationR2:
		list = append(list, fmt.Sprintf("federation is r2: TCP leaves from ports %s, and nothing comes in there from the external side.", r.Ports))
	case conf.FederationLegacy:
		list = append(list, fmt.Sprintf("federation is legacy: ports %s are open both ways, for UDP and TCP.", r.Ports))
	}
	if bound, ok := r.RelayAddress(r.ExternalAddress); ok && bound != r.ExternalAddress {
		list = append(list, fmt.Sprintf("external_address: the NAT has to map %s to %s in both directions, for UDP and TCP, with ports unchanged. A firewall "+
			"outside of the NAT knows %s where the table has %s.", r.ExternalAddress, bound, r.ExternalAddress, bound))
	}
	return append(list, fmt.Sprintf("Port %d is not used: it belongs to the SIP authentication service of an A/V Edge, if there is one beside causeway.", conf.ReservedPort))
}

// wrap breaks text at spaces into lines of at most width bytes.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

const rulesHead = `# For this host's own firewall. The file may be loaded again after a change.
table inet filter {
	chain causeway_in {
	}
	chain causeway_out {
	}
}
flush chain inet filter causeway_in
flush chain inet filter causeway_out
table inet filter {
`

const rulesFoot = `}
# The rules take effect when the chains of the host jump to them:
#   nft insert rule inet filter input jump causeway_in
#   nft insert rule inet filter output jump causeway_out
`

func writeRules(b *bytes.Buffer, passages []Passage) {
	b.WriteString(rulesHead)
	for _, chain := range []struct {
		name      string
		direction Direction
		loopback  string
	}{{"causeway_in", In, `iif "lo"`}, {"causeway_out", Out, `oif "lo"`}} {
		fmt.Fprintf(b, "\tchain %s {\n\t\tct state established,related accept\n\t\t%s accept\n", chain.name, chain.loopback)
		for _, p := range passages {
			if p.Direction == chain.direction {
				fmt.Fprintf(b, "\t\t%s\n", rule(p))
			}
		}
		b.WriteString("\t}\n")
	}
	b.WriteString(rulesFoot)
}

// rule is one line of nftables. Where an address is missing it is a comment to be completed: a rule without it would
// open more than was meant.
func rule(p Passage) string {
	family := "ip"
	if p.Here.Is6() || !p.Here.IsValid() && len(p.There) > 0 && p.There[0].Addr().Is6() {
		family = "ip6"
	}
	here, there := [2]string{"saddr", "sport"}, [2]string{"daddr", "dport"}
	if p.Direction == In {
		here, there = there, here
	}
	var words []string
	if p.Here.IsValid() {
		words = append(words, family, here[0], p.Here.String())
	}
	switch {
	case p.Who != "":
		words = append([]string{"# complete the address of " + p.Who + ":"}, append(words, family, there[0], "ADDRESS")...)
	case len(p.There) == 1:
		words = append(words, family, there[0], formatPrefix(p.There[0]))
	case len(p.There) > 1:
		words = append(words, family, there[0], "{ "+formatPrefixes(p.There)+" }")
	}
	if p.HerePorts == anyPort && p.TherePorts == anyPort {
		words = append(words, "meta l4proto", p.Protocol)
	}
	if p.HerePorts != anyPort {
		words = append(words, p.Protocol, here[1], formatPorts(p.HerePorts))
	}
	if p.TherePorts != anyPort {
		words = append(words, p.Protocol, there[1], formatPorts(p.TherePorts))
	}
	return strings.Join(append(words, "accept", fmt.Sprintf("comment %q", p.Purpose)), " ")
}
