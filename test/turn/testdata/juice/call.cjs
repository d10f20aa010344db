// Two peer connections of libdatachannel, whose ICE and TURN are libjuice's, reach each other through a relay alone and
// send 50 words and their echoes over a data channel. Prints one line of JSON: what came back.
//
// node call.cjs HOST PORT USER PASSWORD
const {PeerConnection, cleanup, initLogger} = require('node-datachannel');

initLogger('Debug', (level, line) => console.error(level, line));
const [hostname, port, username, password] = process.argv.slice(2);
const settings = {
  iceServers: [{hostname, port: Number(port), username, password, relayType: 'TurnUdp'}],
  iceTransportPolicy: 'relay',
};
const [a, b] = [new PeerConnection('a', settings), new PeerConnection('b', settings)];
for (const [one, other] of [[a, b], [b, a]]) {
  one.onLocalDescription((sdp, type) => other.setRemoteDescription(sdp, type));
  one.onLocalCandidate((candidate, mid) => other.addRemoteCandidate(candidate, mid));
}
b.onDataChannel(channel => channel.onMessage(word => channel.sendMessage(`echo of ${word}`)));

const heard = [];
const channel = a.createDataChannel('words');
channel.onOpen(() => { for (let i = 0; i < 50; i++) channel.sendMessage(`word ${i}`); });
channel.onMessage(word => {
  heard.push(word);
  if (heard.length < 50) return;
  console.log(JSON.stringify({words: heard}));
  a.close();
  b.close();
  setTimeout(() => { cleanup(); process.exit(0); }, 200);
});
setTimeout(() => { console.error(`gave up after ${heard.length} words`); process.exit(1); }, 20000);
