"""The style sheet and the player of the HTML pages. The player needs a browser with Web Audio and no network."""

STYLE = """
body{font:16px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:68rem;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:1.6rem 0 .3rem}
section{border-top:1px solid #ddd;padding-bottom:.8rem}
.score svg{width:100%;height:auto;display:block}
button{font:inherit;padding:.25rem .8rem;border:1px solid #888;border-radius:.4rem;background:#f6f6f2;cursor:pointer}
a{margin-left:.5rem}.said{color:#8a5a00;margin:.2rem 0}
.sounding,.sounding *{fill:#1f6fd1!important;stroke:#1f6fd1!important;color:#1f6fd1!important}
li{cursor:pointer}li small{color:#777}pre{background:#f6f6f2;padding:.8rem;overflow:auto}
table{border-collapse:collapse}td,th{text-align:left;padding:.15rem .8rem .15rem 0;border-bottom:1px solid #eee}
"""

PLAYER = """
let context=null,playing=null;
function stop(){if(!playing)return;playing.timers.forEach(clearTimeout);playing.gain.gain.cancelScheduledValues(0);
 playing.gain.gain.setTargetAtTime(0,context.currentTime,.02);
 document.querySelectorAll('.sounding').forEach(e=>e.classList.remove('sounding'));
 playing.button.textContent='\\u25b6 play';playing=null;}
function tone(out,pitch,at,length,level,shape){const o=context.createOscillator(),g=context.createGain();
 o.type=shape;o.frequency.value=440*Math.pow(2,(pitch-69)/12);
 g.gain.setValueAtTime(0,at);g.gain.linearRampToValueAtTime(level,at+.012);
 g.gain.setTargetAtTime(level*.55,at+.012,.18);g.gain.setTargetAtTime(0,at+Math.max(.04,length-.03),.025);
 o.connect(g).connect(out);o.start(at);o.stop(at+length+.25);}
function play(number,from){const same=playing&&playing.number===number&&from===undefined;stop();if(same)return;
 context=context||new AudioContext();context.resume();
 const song=SONGS[number],begin=context.currentTime+.08,first=from||0;
 const gain=context.createGain();gain.gain.value=.5;gain.connect(context.destination);
 const button=document.querySelector(`[data-play="${number}"]`);button.textContent='\\u25a0 stop';
 playing={number,gain,timers:[],button};let last=0;
 song.chords.forEach(([p,s,d,v])=>{if(s+d>first)tone(gain,p,begin+Math.max(0,s-first)*song.step,
   (d-Math.max(0,first-s))*song.step,v/127*.16,'sine');});
 song.notes.forEach(([p,s,d,v],i)=>{if(s<first)return;const at=(s-first)*song.step,end=at+d*song.step;
  last=Math.max(last,end);
  tone(gain,p,begin+at,d*song.step,v/127*.5,'triangle');const e=document.getElementById(`m${number}-n${i}`);
  if(e){playing.timers.push(setTimeout(()=>e.classList.add('sounding'),80+at*1000),
   setTimeout(()=>e.classList.remove('sounding'),80+end*1000));}});
 playing.timers.push(setTimeout(stop,last*1000+400));}
document.addEventListener('click',event=>{
 const b=event.target.closest('[data-play]'),l=event.target.closest('li[data-step]');
 if(b)play(+b.dataset.play);else if(l)play(+l.dataset.melody,+l.dataset.step);});
"""
