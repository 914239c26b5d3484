//! The hash by which the deadlock detector and its messages know keys: FarmHash's 64-bit fingerprint.

const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;

fn fetch(s: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&s[at..at + 8]);
    u64::from_le_bytes(word)
}

fn fetch32(s: &[u8], at: usize) -> u64 {
    let mut word = [0; 4];
    word.copy_from_slice(&s[at..at + 4]);
    u32::from_le_bytes(word).into()
}

const fn shift_mix(v: u64) -> u64 {
    v ^ (v >> 47)
}

const fn mix(u: u64, v: u64, mul: u64) -> u64 {
    let a = shift_mix((u ^ v).wrapping_mul(mul));
    shift_mix((v ^ a).wrapping_mul(mul)).wrapping_mul(mul)
}

fn up_to_16(s: &[u8]) -> u64 {
    let len = s.len() as u64;
    let mul = K2.wrapping_add(len * 2);
    match s.len() {
        8.. => {
            let a = fetch(s, 0).wrapping_add(K2);
            let b = fetch(s, s.len() - 8);
            let c = b.rotate_right(37).wrapping_mul(mul).wrapping_add(a);
            let d = a.rotate_right(25).wrapping_add(b).wrapping_mul(mul);
            mix(c, d, mul)
        }
        4.. => mix(
            len.wrapping_add(fetch32(s, 0) << 3),
            fetch32(s, s.len() - 4),
            mul,
        ),
        1.. => {
            let (a, b, c) = (s[0].into(), s[s.len() / 2], s[s.len() - 1]);
            let y: u64 = u64::wrapping_add(a, u64::from(b) << 8);
            let z = len.wrapping_add(u64::from(c) << 2);
            shift_mix(y.wrapping_mul(K2) ^ z.wrapping_mul(K0)).wrapping_mul(K2)
        }
        0 => K2,
    }
}

/// The part that hashes of 17 to 64 bytes have in common: two sums over the first and the last 16 bytes.
fn ends(s: &[u8], first: u64, mul: u64) -> (u64, u64, u64) {
    let a = fetch(s, 0).wrapping_mul(first);
    let b = fetch(s, 8);
    let c = fetch(s, s.len() - 8).wrapping_mul(mul);
    let d = fetch(s, s.len() - 16).wrapping_mul(K2);
    let y = a.wrapping_add(b).rotate_right(43);
    let y = y.wrapping_add(c.rotate_right(30)).wrapping_add(d);
    let z = b.wrapping_add(K2).rotate_right(18);
    (a, y, a.wrapping_add(z).wrapping_add(c))
}

fn up_to_32(s: &[u8]) -> u64 {
    let mul = K2.wrapping_add(s.len() as u64 * 2);
    let (_, y, z) = ends(s, K1, mul);
    mix(y, z, mul)
}

fn up_to_64(s: &[u8]) -> u64 {
    let mul = K2.wrapping_add(s.len() as u64 * 2);
    let (a, y, z) = ends(s, K2, mul);
    let z = mix(y, z, mul);
    let e = fetch(s, 16).wrapping_mul(mul);
    let f = fetch(s, 24);
    let g = y.wrapping_add(fetch(s, s.len() - 32)).wrapping_mul(mul);
    let h = z.wrapping_add(fetch(s, s.len() - 24)).wrapping_mul(mul);
    let left = e.wrapping_add(f).rotate_right(43);
    let left = left.wrapping_add(g.rotate_right(30)).wrapping_add(h);
    let right = f.wrapping_add(a).rotate_right(18);
    mix(left, e.wrapping_add(right).wrapping_add(g), mul)
}

fn weak(s: &[u8], at: usize, a: u64, b: u64) -> (u64, u64) {
    let z = fetch(s, at + 24);
    let a = a.wrapping_add(fetch(s, at));
    let b = b.wrapping_add(a).wrapping_add(z).rotate_right(21);
    let sum = a
        .wrapping_add(fetch(s, at + 8))
        .wrapping_add(fetch(s, at + 16));
    let b = b.wrapping_add(sum.rotate_right(44));
    (sum.wrapping_add(z), b.wrapping_add(a))
}

/// The state of a long hash.
struct State {
    x: u64,
    y: u64,
    z: u64,
    v: (u64, u64),
    w: (u64, u64),
}

impl State {
    /// Takes in 64 bytes; `times` is 1, but 9 for the last ones.
    fn take(&mut self, s: &[u8], mul: u64, times: u64) {
        let Self { x, y, z, v, w } = self;
        *x = x
            .wrapping_add(*y)
            .wrapping_add(v.0)
            .wrapping_add(fetch(s, 8));
        *x = x.rotate_right(37).wrapping_mul(mul);
        *y = y.wrapping_add(v.1).wrapping_add(fetch(s, 48));
        *y = y.rotate_right(42).wrapping_mul(mul);
        *x ^= w.1.wrapping_mul(times);
        *y = y
            .wrapping_add(v.0.wrapping_mul(times))
            .wrapping_add(fetch(s, 40));
        *z = z.wrapping_add(w.0).rotate_right(33).wrapping_mul(mul);
        *v = weak(s, 0, v.1.wrapping_mul(mul), x.wrapping_add(w.0));
        *w = weak(s, 32, z.wrapping_add(w.1), y.wrapping_add(fetch(s, 16)));
        std::mem::swap(x, z);
    }
}

/// The fingerprint of a key.
pub(super) fn fingerprint64(s: &[u8]) -> u64 {
    match s.len() {
        0..=16 => return up_to_16(s),
        17..=32 => return up_to_32(s),
        33..=64 => return up_to_64(s),
        _ => {}
    }
    let seed: u64 = 81;
    let y = seed.wrapping_mul(K1).wrapping_add(113);
    let mut state = State {
        x: seed.wrapping_mul(K2).wrapping_add(fetch(s, 0)),
        y,
        z: shift_mix(y.wrapping_mul(K2).wrapping_add(113)).wrapping_mul(K2),
        v: (0, 0),
        w: (0, 0),
    };
    let whole = (s.len() - 1) / 64 * 64;
    for block in s[..whole].chunks_exact(64) {
        state.take(block, K1, 1);
    }
    let mul = K1.wrapping_add((state.z & 0xff) << 1);
    let State { v, w, .. } = &mut state;
    w.0 = w.0.wrapping_add((s.len() as u64 - 1) & 63);
    v.0 = v.0.wrapping_add(w.0);
    w.0 = w.0.wrapping_add(v.0);
    state.take(&s[s.len() - 64..], mul, 9);
    let State { x, y, z, v, w } = state;
    let left = mix(v.0, w.0, mul).wrapping_add(shift_mix(y).wrapping_mul(K0));
    mix(
        left.wrapping_add(z),
        mix(v.1, w.1, mul).wrapping_add(x),
        mul,
    )
}

#[cfg(test)]
mod tests {
    use super::fingerprint64;

    /// Of the alphabet, over and over, up to a length: as the original library has it.
    const KNOWN: [(usize, u64); 15] = [
        (0, 11_160_318_154_034_397_263),
        (1, 12_917_804_110_809_363_939),
        (3, 2_640_714_258_260_161_385),
        (4, 1_897_425_971_756_105_985),
        (7, 4_341_691_227_789_030_229),
        (8, 18_368_443_631_171_807_497),
        (16, 6_080_716_761_534_418_621),
        (17, 11_394_395_984_755_135_400),
        (32, 18_417_110_746_069_939_610),
        (33, 2_004_761_416_539_416_594),
        (64, 11_261_912_070_464_707_578),
        (65, 2_608_948_203_458_330_154),
        (128, 14_061_449_006_046_005_066),
        (129, 11_176_984_671_211_548_628),
        (200, 2_725_806_534_515_858_166),
    ];

    #[test]
    fn keys_of_all_lengths_hash_as_in_the_original() {
        let text: Vec<u8> = (b'a'..=b'z').cycle().take(200).collect();
        for (len, hash) in KNOWN {
            assert_eq!(fingerprint64(&text[..len]), hash, "{len}");
        }
    }
}
