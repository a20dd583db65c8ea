"""Train one network, or many: python train.py -m sparsity=0.95,0.99 rewire=random,l2,weighted"""

import sys

from stage import run

if __name__ == "__main__":
    run("thesis", "train", *sys.argv[1:])
